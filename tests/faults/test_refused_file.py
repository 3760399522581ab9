"""The file of messages that can never be taken, on a disk that is full in the midst of a line."""

import errno
import json
import os
from pathlib import Path

import pytest

from heatfleet.errors import BadMessage, StoreUnavailable
from heatfleet.messaging.base import Received
from heatfleet.refused import RefusedFile


def bad(message_id: str) -> list[tuple[Received, list[tuple[int, BadMessage]]]]:
    """A message with what is wrong with it."""
    return [(Received(b"[", message_id, 0, 1, message_id), [(-1, BadMessage("broken-json", "this is not JSON"))])]


def message_ids(path: Path) -> list[str]:
    """Those of the lines, each of which must be JSON."""
    return [json.loads(line)["message_id"] for line in path.read_text().splitlines()]


async def test_a_full_disk_leaves_no_piece_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is kept once there is room, in a line of its own."""
    path = tmp_path / "refused.ndjson"
    refused = RefusedFile(path)
    await refused.keep(bad("1"))
    room, write = [20], os.write

    def write_what_fits(file: int, text: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, text[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_what_fits)
        with pytest.raises(StoreUnavailable, match=r"refused\.ndjson cannot be written: No space left"):
            await refused.keep(bad("2"))
    await refused.keep(bad("2"))

    assert ["1", "2"] == message_ids(path)


async def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path: Path) -> None:
    """What comes after it is written on a line of its own."""
    path = tmp_path / "refused.ndjson"
    path.write_bytes(b'{"message_id":"1","publi')

    await RefusedFile(path).keep(bad("2"))

    cut, whole = path.read_text().splitlines()
    assert cut.endswith("publi")
    assert "2" == json.loads(whole)["message_id"]
