"""A copy of a whole store while a server and its rollup are at work.

Every file belongs to the same instant: for the moment in which they are opened nobody may roll up, archive or remove
days. From then on each is read as it was at that instant, which SQLite's write-ahead log allows, however long the
copying takes and whatever is written, deleted or put in its place meanwhile. The server is not asked: the journal has
every row that it answered for until its file was opened, and rows of a journal are in order, so what the copy has is
what the store had at some instant since the backup began.
"""

import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO

import apsw

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.base import Backup
from heatfleet.storage.sqlite.connect import (
    exclusive,
    make_folder,
    open_database,
    sync,
    take_lock,
    unavailable_as_error,
    unfit_as_error,
)
from heatfleet.storage.sqlite.files import FOREIGN, StoreFile, folder_of, store_files

ROLLUP_WAIT_S = 120
"""A rollup has an end; one that reckons a day's backlog takes about a minute."""
PAGES_AT_ONCE = 2_000
"""About 16 MB: so soon Ctrl-C is heard."""
_FILES_MAX = 65_536
_LOCK = "backup.lock"


def back_up(path: str, folder: Path, *, only: tuple[str, ...] = ()) -> Backup:
    """Copy the store to a new folder; see ``storage.back_up``. ``only`` names the kinds of files to take."""
    started_s = time.monotonic()
    main, target = Path(path).absolute(), folder.absolute()
    part = target.with_name(f"{target.name}.part")
    _allow_many_files()
    with unavailable_as_error(target), unfit_as_error(target):
        _expect_free(target)
        make_folder(target.parent)
        part.mkdir(mode=0o700, exist_ok=True)  # what is in it tells when people are at home
        with _whole_or_gone(part):
            copied, left_out = _copy_all(main, part / main.name, only)
            part.rename(target)  # which fails if somebody has put something there meanwhile
            sync(target.parent)
            (target / _LOCK).unlink()  # not before: whoever could take a new lock would clear the folder
            sync(target)
    return Backup(target, target / main.name, copied, left_out, time.monotonic() - started_s)


@contextmanager
def _whole_or_gone(part: Path) -> Iterator[None]:
    """Have the folder for oneself, empty; where the block fails, nothing is left of it."""
    try:
        lock = take_lock(part / _LOCK)
    except BlockingIOError as error:
        msg = f"{part}: another backup ({error}) is being written there; name another folder"
        raise StoreUnavailable(msg, retry_after_s=60) from error
    with lock:
        try:
            _clear(part)
            yield
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _expect_free(target: Path) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        msg = f"{target} is there already, and nothing is written over it; name a folder that is new or empty"
        raise SetupError(msg)


def _clear(part: Path) -> None:
    """Remove what a backup left that was killed."""
    for left in part.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != _LOCK:
            left.unlink()


def _copy_all(main: Path, copy: Path, only: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
    """Copy what there is at one instant; gives each file's bytes, and the names that are none of the store's."""
    sizes: dict[str, int] = {}
    with ExitStack() as held:
        opened, foreign = _open_all(main, held, only)
        folder_of(copy).mkdir()
        for source, stream in opened:
            target = copy if source.path == main else folder_of(copy) / source.path.name
            with unavailable_as_error(target), closing(stream):  # the sooner it is closed, the less its log grows
                _copy(source.path, stream, target)
                sizes[str(target.relative_to(copy.parent))] = target.stat().st_size
        sync(folder_of(copy))
    return sizes, foreign


def _open_all(
    main: Path, held: ExitStack, only: tuple[str, ...]
) -> tuple[list[tuple[StoreFile, apsw.Connection | IO[bytes]]], list[str]]:
    """Open everything while no rollup is at work, each to be read as it is now."""
    opened: list[tuple[StoreFile, apsw.Connection | IO[bytes]]] = []
    foreign: list[str] = []
    held.enter_context(closing(open_database(main, "main", writable=False, any_version=True)))  # or say what is amiss
    try:
        with exclusive(folder_of(main) / "rollup.lock", within_s=ROLLUP_WAIT_S):
            for source in store_files(main):
                if source.kind == FOREIGN:
                    foreign.append(source.path.name)
                elif not only or source.kind in only:
                    opened.append((source, held.enter_context(closing(_as_it_is(source)))))
    except BlockingIOError as error:
        msg = f"a rollup ({error}) has been at work on {main} for {ROLLUP_WAIT_S} s; try again when it is done"
        raise StoreUnavailable(msg, retry_after_s=ROLLUP_WAIT_S) from error
    return opened, foreign


def _as_it_is(source: StoreFile) -> apsw.Connection | IO[bytes]:
    with unavailable_as_error(source.path):
        if not source.is_database:
            return source.path.open("rb")  # an archive never changes: another one takes its name
        connection = open_database(source.path, source.kind, writable=False, any_version=True)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        return connection


def _copy(source: Path, stream: apsw.Connection | IO[bytes], target: Path) -> None:
    if isinstance(stream, apsw.Connection):
        _copy_database(source, stream, target)
        sync(target)
    elif not _linked(source, stream, target):
        with target.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        sync(target)


def _copy_database(source: Path, connection: apsw.Connection, target: Path) -> None:
    # Nobody else opens the copy before it is whole, and one that is cut off goes: no locks, no log, one sync after it.
    with closing(apsw.Connection(str(target), vfs="unix-none")) as copy:
        copy.pragma("journal_mode", "OFF")
        copy.pragma("synchronous", "OFF")
        try:
            with copy.backup("main", connection, "main") as pages:
                while not pages.done:
                    pages.step(PAGES_AT_ONCE)
        except (apsw.CorruptError, apsw.NotADBError):
            with unavailable_as_error(source):
                raise


def _linked(source: Path, stream: IO[bytes], target: Path) -> bool:
    """Give an archive a second name, which takes no room, where both are on one disk and it is still the same."""
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    if os.path.samestat(target.stat(), os.fstat(stream.fileno())):
        return True
    target.unlink()
    return False


def _allow_many_files() -> None:
    """Each file of the store is open at once, with its companions: three for a day."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
