"""Files that go, without anybody waiting for it.

A file system takes back all of a file in one transaction, and where it tells the disk so (the mount option ``discard``,
usual in clouds) each message that wants to be durable waits for that: 18 ms for 64 MB on ext4, seconds for a day of a
large fleet. So a large file is first put away under another name, and then cut shorter, little by little; but not if
another process has it open, or a backup shares it under a name of its own.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from heatfleet.storage.sqlite.connect import sync

STEP_BYTES = 4 * 1024 * 1024
PAUSE_S = 0.005
STEPS_A_PIECE = 64
"""Some 0.4 s."""
GONE = ".gone"
"""Behind the name of a file that was put away."""
KINDS = ("journal-", "readings-", "late-")
"""How the names of files begin that may be large."""


def put_away(path: Path) -> None:
    """Delete a file and what SQLite keeps beside it, as far as they are there; large ones are left to ``cut_away``.

    Others may go on reading them.
    """
    for companion in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{companion}")
        with suppress(FileNotFoundError):
            if file.stat().st_size > STEP_BYTES:
                file.rename(_gone(file))
            else:
                file.unlink()


def replace(path: Path, new: Path) -> None:
    """Put a file in the place of another, which is left to ``cut_away`` if it is large."""
    with suppress(OSError):  # no such file, or a file system without links: then the old one goes at once
        if path.stat().st_size > STEP_BYTES:
            _gone(path).hardlink_to(path)
    new.replace(path)


def cut_away(folder: Path, kinds: Sequence[str] = KINDS) -> Iterator[None]:
    """Give back the room of what was put away here, with a pause after each small piece."""
    for path in [path for kind in kinds for path in folder.glob(f"{kind}*{GONE}")]:
        with suppress(OSError):  # cutting is a courtesy: what cannot be cut goes at once
            yield from _cut(path)
        path.unlink(missing_ok=True)


def _gone(path: Path) -> Path:
    return path.with_name(f"{path.name}{GONE}")


def _cut(path: Path) -> Iterator[None]:
    with path.open("r+b") as file:
        if _is_shared(file.fileno()):
            return
        sync(path.parent)  # or a power cut could bring back the old name, with half a file
        sizes = range(os.fstat(file.fileno()).st_size - STEP_BYTES, 0, -STEP_BYTES)
        for number, size in enumerate(sizes, start=1):
            file.truncate(size)
            time.sleep(PAUSE_S)
            if number % STEPS_A_PIECE == 0:
                yield


def _is_shared(number: int) -> bool:
    """Whether a file has another name or is open elsewhere; ``True`` where the system does not say.

    If it is open elsewhere, the kernel gives no write lease (fcntl(2), F_SETLEASE, Linux). It is let go at once; who
    opens the file in between would have us killed by SIGIO, if we did not ask for a signal that means nothing.
    """
    if os.fstat(number).st_nlink > 1:
        return True
    try:
        fcntl.fcntl(number, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (AttributeError, OSError):
        return True
    return False
