"""Files that go, without anybody waiting for it.

A file system takes back all of a file in one transaction, and where it tells the disk so (the mount option ``discard``,
usual in clouds) each message that wants to be durable waits for that: 18 ms for 64 MB on ext4, seconds for a day of a
large fleet. So a large file is first cut shorter, little by little. Nobody must see that: it gets another name, and is
cut only if no other process has it open and no backup shares it under a name of its own.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

STEP_BYTES = 4 * 1024 * 1024
PAUSE_S = 0.005
GONE = ".gone"
"""Behind the name of a file that is being removed."""


def remove(path: Path) -> None:
    """Delete a file and what SQLite keeps beside it, as far as they are there; others may go on reading it."""
    for companion in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            _remove(path.with_name(f"{path.name}{companion}"))


def remove_rest(folder: Path) -> None:
    """Delete what a process that died was removing."""
    for path in folder.glob(f"*{GONE}"):
        with suppress(FileNotFoundError):  # another process is at it too
            _remove(path)


def _remove(path: Path) -> None:
    if path.stat().st_size > STEP_BYTES:
        path = path.rename(path.with_name(path.name.removesuffix(GONE) + GONE))
        with path.open("r+b") as file:
            if _is_ours_alone(file.fileno()):
                for size in range(os.fstat(file.fileno()).st_size - STEP_BYTES, 0, -STEP_BYTES):
                    file.truncate(size)
                    time.sleep(PAUSE_S)
    path.unlink()


def _is_ours_alone(number: int) -> bool:
    """Whether this file has no other name, and no other open descriptor; ``False`` where the system does not say.

    Only then the kernel gives a write lease (fcntl(2), F_SETLEASE, Linux), and keeps it until the file is closed.
    """
    if os.fstat(number).st_nlink > 1:
        return False
    try:
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except (AttributeError, OSError):
        return False
    return True
