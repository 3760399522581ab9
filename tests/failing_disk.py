"""A disk that fails at the n-th thing that SQLite asks of it, once or from then on, until it is mended.

Writes, truncations and the making of files fail as system calls do, so SQLite finds out by itself what is wrong. Syncs
need a VFS, since SQLite does not let their system call be replaced. There only the sync of a log or journal just
written fails: SQLite carries on after a failed checkpoint, but apsw would raise all the same.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

_CALLS = {
    "pwrite64": ctypes.CFUNCTYPE(
        ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True
    ),
    "ftruncate": ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int64, use_errno=True),
    "open": ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int, use_errno=True),
}


class FailingDisk:
    """Works until ``fail_at``, and again after ``mend``."""

    def __init__(self) -> None:
        self.has_failed = False
        self.errno = 0
        self._left = 0
        self._once = True

    def fail_at(self, number: int, error: int, *, once: bool) -> None:
        """Fail at the n-th call from now; ``once``, or at each one from then on."""
        self.has_failed = False
        self._left, self.errno, self._once = number, error, once

    def mend(self) -> None:
        """Work again."""
        self.errno = 0

    def fails(self) -> bool:
        """Whether the call that comes now is to fail."""
        if not self.errno:
            return False
        self._left -= 1
        if self._left > 0 or (self._once and self.has_failed):
            return False
        self.has_failed = True
        return True


@contextmanager
def failing_writes() -> Iterator[FailingDisk]:
    """A disk whose writes, truncations and new files fail."""
    disk = FailingDisk()
    libc = ctypes.CDLL(None, use_errno=True)

    def instead_of(name: str) -> Any:
        really = _CALLS[name]((name, libc))

        def call(*arguments: int) -> int:
            may_fail = name != "open" or (arguments[1] & os.O_CREAT and not os.path.exists(arguments[0]))  # noqa: PTH110
            if may_fail and disk.fails():
                ctypes.set_errno(disk.errno)
                return -1
            done: int = really(*arguments)
            return done

        return _CALLS[name](call)

    ours = {name: instead_of(name) for name in _CALLS}
    usual = apsw.VFS("calls", "unix")
    try:
        for name, call in ours.items():
            usual.xSetSystemCall(name, ctypes.cast(call, ctypes.c_void_p).value or 0)
        yield disk
    finally:
        for name in ours:
            usual.xSetSystemCall(name, 0)
        usual.unregister()


@contextmanager
def failing_syncs() -> Iterator[FailingDisk]:
    """A disk whose syncs fail."""
    disk = FailingDisk()
    syncs = _Syncs(disk)
    try:
        yield disk
    finally:
        syncs.unregister()


class _Syncs(apsw.VFS):
    """The default VFS as long as it is there."""

    def __init__(self, disk: FailingDisk) -> None:
        super().__init__("syncs", "unix", makedefault=True)
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file."""
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file, if it is there; apsw minds if not, and SQLite does not."""
        if self.xAccess(filename, apsw.SQLITE_ACCESS_EXISTS):
            super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._sync_is_heeded = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        self._was_written = False
        super().__init__("unix", name, flags)
        self._may_write = bool(flags[1] & apsw.SQLITE_OPEN_READWRITE)

    def xLock(self, level: int) -> None:  # noqa: N802
        """Lock; see the same in ``platter``."""
        if level == apsw.SQLITE_LOCK_EXCLUSIVE and not self._may_write:
            raise apsw.BusyError
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Write."""
        self._was_written = True
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        """Sync, or fail to; nobody waits for a real disk."""
        if self._sync_is_heeded and self._was_written and self._disk.fails():
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        self._was_written = False
