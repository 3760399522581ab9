"""Commits that are in a write-ahead log, but not for SQLite: it takes a damaged log to end before the damage.

A frame is written with every page; the last one of a commit tells the size of the database, and all frames since the
log was last begun carry its salt: https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

import struct
import time
from pathlib import Path

import apsw

_HEAD_BYTES, _FRAME_BYTES = 32, 24
_LOOKS, _LOOK_AGAIN_S = 20, 0.1
"""What a writer has written it makes known after a sync: what is a commit and stays unknown for so long is none."""


def lost_commits(connection: apsw.Connection, path: Path) -> int:
    """How many commits follow the end of the log as SQLite sees it; no transaction may be open on the connection.

    A power cut may leave some that nobody was answered for.
    """
    lost = 0
    for _ in range(_LOOKS):
        commits = _commits(path.with_name(f"{path.name}-wal"))
        known, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        lost = sum(frame > known for frame in commits)
        if not lost:
            break
        time.sleep(_LOOK_AGAIN_S)
    return lost


def _commits(log: Path) -> list[int]:
    """The numbers of the frames that end a commit of the log as it was last begun."""
    if not log.exists():
        return []
    found = []
    with log.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return []
        page_bytes, salt = struct.unpack_from(">I", head, 8)[0], head[16:24]
        number = 0
        while len(frame := file.read(_FRAME_BYTES)) == _FRAME_BYTES:
            number += 1
            if frame[8:16] == salt and frame[4:8] != bytes(4):
                found.append(number)
            file.seek(page_bytes, 1)
    return found
