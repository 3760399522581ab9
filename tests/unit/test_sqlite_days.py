"""Readings are put in their place exactly, again and again, whatever lies there and whoever reads."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import StoreUnavailable
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.sheet import ROWS_A_PAGE, SHEET_ROWS

MIDNIGHT_MS = 1_732_579_200_000
FILE = "readings-2024-11-26.db"
readings_ = st.dictionaries(
    st.tuples(st.integers(1, 1 << 31), st.integers(MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS + HOUR_MS), st.integers(0, 1)),
    st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 1 << 31)),
    max_size=30,
)


@contextmanager
def day_files(folder: Path) -> Iterator[DayFiles]:
    with closing(DayFiles(folder, store=7, writable=True)) as days:
        yield days


def kept(days: DayFiles) -> list[Row]:
    """All readings, hour by hour, in each hour by device and time."""
    return sorted([row for part in days.everything() for row in part.rows()])


def many(devices: int, start_ms: int, step_ms: int) -> Readings:
    """Two readings of each device, the power ``step_ms`` after the temperature."""
    number = np.repeat(np.arange(1, devices + 1), 2)
    code = np.tile([1, 0], devices)
    time_ms = start_ms + number % 1_000 + (1 - code) * step_ms
    return Readings(number, time_ms, code, np.where(code == 1, 20 + number / 10, number), number % 20 + 1)


@settings(max_examples=20)  # each makes two files that are synced to the disk
@given(readings_, readings_)
def test_what_was_placed_last_is_there(
    first: dict[tuple[int, int, int], tuple[float, int]], later: dict[tuple[int, int, int], tuple[float, int]]
) -> None:
    """Whatever numbers they have: later readings stand over earlier ones, beside the others, as often as one likes."""
    expected = sorted((*identity, *said) for identity, said in (first | later).items())
    with TemporaryDirectory() as folder, day_files(Path(folder)) as days:
        for said in (first, later, later):
            days.place(Readings.of_rows(sorted((*identity, *values) for identity, values in said.items())))

        assert expected == kept(days)


def test_an_hour_partly_filled_is_filled_twice_with_other_values(tmp_path: Path) -> None:
    """Where readings lie already, between them and beyond them: new ones join, changed ones replace."""
    everyone = many(30_000, MIDNIGHT_MS, 60_000)
    with day_files(tmp_path) as days:
        days.place(everyone.take(everyone.device % 3 == 0))
        changed = Readings(everyone.device, everyone.time_ms, everyone.code, everyone.value + 0.5, everyone.product + 1)
        some = changed.take(everyone.device % 2 == 0)
        for _ in range(2):
            days.place(some)
        before = everyone.take((everyone.device % 3 == 0) & (everyone.device % 2 != 0))

        assert sorted(before.rows() + some.rows()) == kept(days)


@pytest.mark.parametrize("rows", [ROWS_A_PAGE - 2, ROWS_A_PAGE, ROWS_A_PAGE + 2, 5 * ROWS_A_PAGE, SHEET_ROWS + 2])
def test_no_row_is_lost_at_an_edge(rows: int, tmp_path: Path) -> None:
    """One page of a sheet, a row more or less, more than the largest sheet; within an hour and across midnight."""
    one_hour = many(rows // 2, MIDNIGHT_MS, 1_000)
    two_days = many(rows // 2, MIDNIGHT_MS + DAY_MS - 1_000, 2_000)
    with day_files(tmp_path) as days:
        days.place(one_hour)
        days.place(two_days)

        assert sorted(one_hour.rows() + two_days.rows()) == kept(days)
    with closing(apsw.Connection(str(tmp_path / FILE))) as plain:
        assert "ok" == plain.pragma("integrity_check")
        assert rows + rows // 2 == plain.execute("SELECT count(*) FROM reading").get


def test_who_reads_neither_waits_nor_is_waited_for(tmp_path: Path) -> None:
    """A reader in the middle of a transaction sees what it saw before; the next one sees what was placed since."""
    with day_files(tmp_path) as days:
        days.place(many(10, MIDNIGHT_MS, 1_000))
        flags = apsw.SQLITE_OPEN_READONLY
        with closing(apsw.Connection(str(tmp_path / FILE), flags=flags)) as reader:
            count = "SELECT count(*) FROM reading"
            reader.execute("BEGIN")

            assert 20 == reader.execute(count).get
            days.place(many(5_000, MIDNIGHT_MS, 1_000))
            assert 20 == reader.execute(count).get
            reader.execute("COMMIT")
            assert 10_000 == reader.execute(count).get


def test_a_day_that_cannot_be_placed_is_taken_back_whole(tmp_path: Path) -> None:
    """A refusal by SQLite in a later hour leaves nothing in an earlier one, and the file goes on to be used."""
    good = many(100, MIDNIGHT_MS, 2 * HOUR_MS)
    bad = Readings(
        good.device, good.time_ms, good.code, np.where(good.code == 0, np.nan, good.value), good.product
    )  # SQLite takes what is not a number as NULL, and the tables do not
    with day_files(tmp_path) as days:
        with pytest.raises(StoreUnavailable, match=FILE):
            days.place(bad)

        assert [] == kept(days)
        days.place(good)
        assert 200 == len(kept(days))
