"""Files of a store that do not belong together are noticed before anything is written."""

from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import SetupError
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests.oracle import HOLD_MS

START_MS = 1_732_579_200_000
NOW_MS = START_MS + 48 * 3_600_000


def test_day_files_without_their_main_file_are_not_taken_over(tmp_path: Path) -> None:
    """A new main file would number devices anew; the server refuses it, and so does a rollup."""
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of([Reading("a", "p", POWER, START_MS, 1.0)])], NOW_MS)
        store.rollup(NOW_MS)
    for path in tmp_path.glob("heatfleet.db*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(SetupError, match="restore the two from one backup"):
        open_store(url, hold_ms=HOLD_MS)
    with (
        closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store,
        pytest.raises(SetupError, match="restore the two from one backup"),
    ):
        store.rollup(NOW_MS)


def test_the_main_file_is_whole_by_itself_after_closing(tmp_path: Path) -> None:
    """What a rollup wrote is in the file itself, not in its write-ahead log, once the rollup is closed."""
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    with closing(open_store(url, hold_ms=HOLD_MS)) as server:
        server.append([Block.of([Reading("a", "p", POWER, START_MS, 1.0)])], NOW_MS)
        assert server.device("a") is None  # a reader stays open beside the rollup
        with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as rollup:
            rollup.rollup(NOW_MS)

        assert 0 == (tmp_path / "heatfleet.db-wal").stat().st_size
