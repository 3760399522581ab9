"""Large writes, begun as they are made: a message on the same disk waits behind a little, not behind all of it.

SQLite writes a rollup's pages into the kernel's memory and asks for the disk once, at the end of the transaction and of
the checkpoint. Hundreds of MB are then before the few hundred bytes of a message that wants to be durable. So a thread
asks the kernel, every few milliseconds, to begin with what has come.

It asks with ``sync_file_range`` and ``SYNC_FILE_RANGE_WRITE`` alone (sync_file_range(2), Linux; elsewhere nothing is
done): this waits for nothing and takes no error, so a disk that fails is still told to SQLite by its own sync. An
``fdatasync`` of ours would swallow the error, as the kernel tells it once per open file.
"""

import ctypes
import os
from pathlib import Path
from threading import Event, Thread
from typing import Self

EVERY_S = 0.01
_WRITE = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h
_TO_THE_END = 0
_OPEN_FILES = "/proc/self/fd"


class Trickle:
    """While its block lasts, what this process writes to a store's files goes to the disk little by little."""

    def __init__(self, main: Path) -> None:
        self._prefix = os.path.realpath(main)
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        begin = getattr(ctypes.CDLL(None), "sync_file_range", None)
        if begin is not None and Path(_OPEN_FILES).is_dir():
            begin.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
            self._thread = Thread(target=self._work, args=(begin,), name="heatfleet-trickle", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self, begin: "ctypes._NamedFuncPointer") -> None:
        while not self._over.wait(EVERY_S):
            for number in self._written():
                # The number may belong to another file by now: that does no harm, and a bad one is an error we ignore.
                begin(number, 0, _TO_THE_END, _WRITE)

    def _written(self) -> list[int]:
        """The descriptors of the store's files that are open here, but those shared as memory."""
        found = []
        for number in os.listdir(_OPEN_FILES):  # noqa: PTH208 - asked a hundred times a second
            try:
                name = os.readlink(f"{_OPEN_FILES}/{number}")  # noqa: PTH115 - as above
            except OSError:
                continue  # closed meanwhile
            if name.startswith(self._prefix) and not name.endswith("-shm"):
                found.append(int(number))
        return found
