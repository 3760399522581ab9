"""What a rollup writes goes to the disk little by little; how much that spares who posts, `make bench` tells."""

import os
import sys
import threading
from pathlib import Path

import pytest

from heatfleet.storage.sqlite.trickle import Trickle


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_the_files_of_a_store_that_are_open_are_found(tmp_path: Path) -> None:
    """The main file, its log and what is in its folder; not what is shared as memory, nor what is another's."""
    folder = tmp_path / "heatfleet.db.d"
    folder.mkdir()
    ours = [tmp_path / "heatfleet.db", tmp_path / "heatfleet.db-wal", folder / "readings-2026-01-01.db"]
    others = [tmp_path / "heatfleet.db-shm", tmp_path / "another.db"]
    opened = {os.open(path, os.O_RDWR | os.O_CREAT): path for path in (*ours, *others)}
    try:
        found = Trickle(tmp_path / "heatfleet.db")._written()
    finally:
        for number in opened:
            os.close(number)

    assert {number for number, path in opened.items() if path in ours} == set(found)


def test_its_thread_ends_with_the_block(tmp_path: Path) -> None:
    """Also when what is in the block fails, and there may be any number of them, one after the other."""
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), Trickle(tmp_path / "heatfleet.db"):
            1 / 0  # noqa: B018 - it fails

        assert before == threading.active_count()
