"""A disk whose power can be cut: what SQLite wrote since its last sync is then there, or not, or in part.

``Platter`` is a VFS of SQLite, and the default one while it is there, so the code under test knows nothing of it. Files
are written where they are named, as always. Beside that the platter keeps what a sync has made certain of each file,
and all that was done since. At the cut it tells the files as they may be found: the certain, and of the rest a random
part, some writes torn at 512 bytes.

A name is certain once its folder was synced; SQLite does so with the first sync of a new log or journal. Files that
Python removes are told to ``removed``.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

SECTOR_BYTES = 512
NAME = "platter"
_SYNCS_ITS_FOLDER = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_KEPT = _SYNCS_ITS_FOLDER | apsw.SQLITE_OPEN_MAIN_DB

Files = dict[str, bytes]
"""What is found, by the whole path."""


class _Inode:
    """One file: what is certain of it, and the writes (offset, data) and truncations (size, ``None``) since."""

    def __init__(self, certain: bytes = b"") -> None:
        self._certain = bytearray(certain)
        self._since: list[tuple[int, bytes | None]] = []

    def change(self, place: int, data: bytes | None) -> None:
        self._since.append((place, data))

    def sync(self) -> None:
        for place, data in self._since:
            _put(self._certain, place, data)
        self._since.clear()

    def found(self, dice: random.Random) -> bytes:
        """As it may be found after a cut."""
        content = bytearray(self._certain)
        share = dice.choice([0.05, 0.5, 0.95])
        for place, data in self._since:
            if dice.random() > share:
                continue
            if data is None or dice.random() < 0.7:
                _put(content, place, data)
            else:
                for start in range(0, len(data), SECTOR_BYTES):
                    if dice.random() < 0.5:
                        _put(content, place + start, data[start : start + SECTOR_BYTES])
        return bytes(content)


def _put(content: bytearray, place: int, data: bytes | None) -> None:
    end = place if data is None else place + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[place:]
    else:
        content[place:end] = data


class Platter(apsw.VFS):
    """The disk. It keeps nothing until ``spin``, and nothing after the cut; then it is a disk like any other."""

    def __init__(self) -> None:
        super().__init__(NAME, "", makedefault=True)
        self.swallows_syncs = False
        self.is_cut = True
        self.found: Files = {}
        self._turn = threading.Lock()

    def spin(self, files: Files, dice: random.Random, *, cut_after: int, at_cut: Callable[[str], object]) -> None:
        """From now on remember; these files are certain. The power is cut after so many writes, syncs and so on.

        ``at_cut`` is told then of which file the next one would have been.
        """
        self._names = {path: _Inode(content) for path, content in files.items()}
        self._certain_names = dict(self._names)
        self._renamed: list[tuple[str, _Inode | None]] = []
        self._dice, self._left, self._at_cut = dice, cut_after, at_cut
        self.found = {}
        self.is_cut = False

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file; one that others may find later is kept book of."""
        if not flags[0] & _KEPT or name is None:
            return super().xOpen(name, flags)
        path = name if isinstance(name, str) else name.filename()
        file = _File(self, name, path, flags)
        with self._keeping_book(path) as keeps:
            if keeps and path not in self._names:
                self._link(path, _Inode())
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file."""
        try:
            super().xDelete(filename, syncdir)
        except apsw.IOError as error:
            # That it is not there is told by an error which SQLite does not mind, and apsw does.
            if vars(error)["extendedresult"] != apsw.SQLITE_IOERR_DELETE_NOENT:
                raise
        self.removed(filename)
        if syncdir:
            self.sync_folder(filename)

    def removed(self, path: str) -> None:
        """Somebody removed a file; until its folder is synced, it may come back."""
        with self._keeping_book(path) as keeps:
            if keeps and path in self._names:
                self._link(path, None)

    def changed(self, path: str, place: int, data: bytes | None) -> None:
        """Somebody wrote, or truncated."""
        with self._keeping_book(path) as keeps:
            if keeps and path in self._names:
                self._names[path].change(place, data)

    def sync(self, path: str) -> None:
        """Somebody made a file's content certain."""
        with self._keeping_book(path) as keeps:
            if keeps and path in self._names and not self.swallows_syncs:
                self._names[path].sync()

    def sync_folder(self, path: str) -> None:
        """Somebody made the names in this file's folder certain."""
        with self._keeping_book(path) as keeps:
            if not keeps:
                return
            folder, pending = Path(path).parent, self._renamed
            self._renamed = [one for one in pending if Path(one[0]).parent != folder]
            _apply(self._certain_names, [one for one in pending if Path(one[0]).parent == folder])

    @contextmanager
    def _keeping_book(self, path: str) -> Iterator[bool]:
        """Takes turns, counts the step, and cuts the power when it is time."""
        with self._turn:
            self._left -= not self.is_cut
            if not self.is_cut and self._left < 0:
                self._at_cut(path)
                self.is_cut = True
                names = dict(self._certain_names)
                _apply(names, [one for one in self._renamed if self._dice.random() < 0.5])
                self.found = {path: inode.found(self._dice) for path, inode in names.items()}
            yield not self.is_cut

    def _link(self, path: str, inode: _Inode | None) -> None:
        _apply(self._names, [(path, inode)])
        self._renamed.append((path, inode))

    _left = 0


def _apply(names: dict[str, _Inode], changes: list[tuple[str, _Inode | None]]) -> None:
    for path, inode in changes:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


class _File(apsw.VFSFile):
    """An open file of the platter. It is not really synced: tests would wait for a real disk."""

    def __init__(self, platter: Platter, name: str | apsw.URIFilename, path: str, flags: list[int]) -> None:
        self._platter = platter
        self._path = path
        self._folder_is_due = bool(flags[0] & _SYNCS_ITS_FOLDER)
        super().__init__("unix", name, flags)
        self._may_write = bool(flags[1] & apsw.SQLITE_OPEN_READWRITE)

    def xLock(self, level: int) -> None:  # noqa: N802
        """Lock. Who may only read tries for a writer's lock at closing: in vain, which must not become an exception."""
        if level == apsw.SQLITE_LOCK_EXCLUSIVE and not self._may_write:
            raise apsw.BusyError
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write."""
        self._platter.changed(self._path, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Cut off the end."""
        self._platter.changed(self._path, newsize, None)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Make certain; the name as well, if the file may be new."""
        self._platter.sync(self._path)
        if self._folder_is_due:
            self._platter.sync_folder(self._path)
            self._folder_is_due = False


@contextmanager
def mounted_platter(patch: pytest.MonkeyPatch) -> Iterator[Platter]:
    """All databases opened meanwhile are on the platter."""
    platter = Platter()
    unlink = Path.unlink

    def told(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        platter.removed(str(path))

    with patch.context() as within:
        within.setattr(Path, "unlink", told)
        yield platter
    platter.unregister()
