"""A query that nobody waits for any more is broken off, and what it was asked on serves the next."""

from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.errors import ReportTooSlow
from heatfleet.storage import open_store
from heatfleet.storage.base import Patience
from tests.filled import DAYS_PER_YEAR, FIRST_SLOT, fill_figures

YEARS = 20


class Asked(Patience):
    """Counts how often it was asked, and is over at the given time."""

    def __init__(self, over_at: int = 0) -> None:
        super().__init__()
        self.times, self.over_at = 0, over_at

    def __call__(self) -> bool:
        """Whether nobody waits any more."""
        self.times += 1
        if self.times == self.over_at:
            self.end()
        return super().__call__()


def test_a_long_query_is_broken_off(tmp_path: Path) -> None:
    """SQLite asks in the midst of reading and stops there; the store then answers as if nothing had been."""
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db", hold_ms=3_600_000)) as store:
        fill_figures(tmp_path / "heatfleet.db", YEARS)
        patient = Asked()
        assert YEARS * DAYS_PER_YEAR * 96 == len(store.figures(patience=patient).slot)
        assert patient.times > 3
        for time in (1, 2, 3):
            impatient = Asked(time)
            with pytest.raises(ReportTooSlow):
                store.figures(patience=impatient)
            assert time == impatient.times
            assert 96 == len(store.figures(FIRST_SLOT, FIRST_SLOT + 96, patience=Patience()).slot)


def test_a_usual_report_asks_nobody(tmp_path: Path) -> None:
    """A year is read without a look at who waits, each of which is a turn of the interpreter lock."""
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db", hold_ms=3_600_000)) as store:
        fill_figures(tmp_path / "heatfleet.db", 1)
        patient = Asked()
        store.figures(patience=patient)

        assert 0 == patient.times
