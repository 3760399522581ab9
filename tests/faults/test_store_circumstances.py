"""Odd but possible circumstances of a store: files lost or just begun, clocks that jump, rollups that take turns."""

import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, TIME_MIN_MS, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS
from heatfleet.errors import SetupError
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests import oracle
from tests.oracle import HOLD_MS, defined, told

START_MS = 1_732_579_200_000
NOW_MS = START_MS + 30 * HOUR_MS


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a store that is not made yet."""
    return f"sqlite:///{tmp_path}/heatfleet.db"


def test_a_kept_rollup_sees_the_days_that_a_rollup_by_hand_made(url: str) -> None:
    """Two rollups take turns; the second reading of a day that the other one made is reckoned against the first."""
    said = [
        Reading("a", "p", POWER, START_MS, 1000.0),
        Reading("a", "p", POWER, START_MS - 3 * DAY_MS, 500.0),
        Reading("a", "p", POWER, START_MS - 3 * DAY_MS + 60_000, 700.0),
    ]
    with (
        closing(open_store(url, hold_ms=HOLD_MS)) as server,
        closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as by_hand,
    ):
        for reading, handle in zip(said, (server, by_hand, server), strict=True):
            server.append([Block.of([reading])], NOW_MS)
            handle.rollup(NOW_MS)

        assert defined(said, NOW_MS) == told(server.figures())


def test_a_lost_journal_does_not_swallow_what_comes_after(url: str, tmp_path: Path) -> None:
    """When the journal's files are gone, numbering goes on after what the figures count."""
    said = [Reading("a", "p", POWER, START_MS, 1.0), Reading("b", "p", POWER, START_MS, 1.0)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        for _ in range(5):
            store.append([Block.of(said[:1])], NOW_MS)
        store.rollup(NOW_MS)
    for path in (tmp_path / "heatfleet.db.d").glob("journal*"):
        path.unlink()
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said[1:])], NOW_MS)
        store.rollup(NOW_MS)

        assert defined(said, NOW_MS) == told(store.figures())


def test_a_journal_file_that_is_only_begun_is_empty(url: str, tmp_path: Path) -> None:
    """A rollup and a status that come while the server makes its next journal file do not mind."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of([Reading("a", "p", POWER, START_MS, 1.0)])], NOW_MS)
        (tmp_path / "heatfleet.db.d" / "journal-000000000002.db").touch()

        assert 0 == store.status(NOW_MS).lag_ms
        assert 1 == store.rollup(NOW_MS).readings


def test_a_day_file_that_is_only_begun_is_empty(url: str, tmp_path: Path) -> None:
    """A question about one device that comes while a rollup makes a day's file is answered; a server starts too."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of([Reading("a", "p", POWER, START_MS, 1.0)])], START_MS)
        store.rollup(START_MS + 1000)
        (tmp_path / "heatfleet.db.d" / "readings-2024-11-26.db").touch()

        assert 1000 == store.device_figures("a").known_ms.sum()
    open_store(url, hold_ms=HOLD_MS).close()


def test_far_apart_times_and_many_products_need_little_memory(url: str) -> None:
    """One old reading beside many products does not make a table of all slots and products between."""
    said = [Reading("old", "p", POWER, TIME_MIN_MS, 1000.0)]
    said += [Reading(f"d{number}", f"p{number}", POWER, NOW_MS - 1000, 1.0) for number in range(60)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], NOW_MS)
        tracemalloc.start()
        store.rollup(NOW_MS)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak_bytes < 50_000_000
        assert defined(said, NOW_MS) == told(store.figures())


def test_one_device_may_fill_a_part_of_a_rebuild(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with more readings in an hour than are read at once does not end a rebuild."""
    monkeypatch.setattr("heatfleet.storage.sqlite.days.READ_AT_ONCE", 5)
    said = [Reading(name, "p", POWER, START_MS + number, 1.0) for name in "ab" for number in range(12)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rebuild(NOW_MS)
        store.rebuild(NOW_MS)

        assert defined(said, NOW_MS) == told(store.figures())


def test_a_reading_of_this_instant_counts_for_nothing_yet(url: str) -> None:
    """A device that first speaks at now is not yet known for any time, so it is not counted among the known."""
    now_ms = NOW_MS + 60_000
    said = [Reading("a", "p", POWER, now_ms - 1000, 1000.0), Reading("b", "p", POWER, now_ms, 1000.0)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], now_ms)
        store.rollup(now_ms)

        assert defined(said, now_ms) == told(store.figures())


def test_a_rollup_at_the_edge_of_a_slot_leaves_nobody_out(url: str) -> None:
    """Who was silent over the edge is known in the slot that begins there, as soon as some of it has passed."""
    edge_ms = NOW_MS + SLOT_MS
    said = [Reading("a", "p", POWER, NOW_MS + 1000, 1000.0)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], edge_ms)
        for now_ms in (edge_ms - 1, edge_ms, edge_ms + 1, edge_ms + 4 * SLOT_MS, edge_ms + 9 * SLOT_MS):
            store.rollup(now_ms)

            assert defined(said, now_ms) == told(store.figures())


def test_an_earlier_now_gives_figures_of_the_later_or_of_the_earlier_one(url: str) -> None:
    """The server's rollup lags five seconds behind one by hand; fleet and device figures still agree."""
    said = [Reading("a", "p", POWER, NOW_MS - 60_000, 1000.0), Reading("a", "p", POWER, NOW_MS - 2_000, 0.0)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        store.rollup(NOW_MS - 5_000)

        assert told(store.device_figures("a")) == told(store.figures())
        assert told(store.figures()) == defined(said, store.figures().as_of_ms)


@pytest.mark.timeout(20)
def test_a_clock_that_is_years_back_does_not_hang_the_rollup(url: str) -> None:
    """A rollup before the clock was set ends soon, and one after it is right."""
    said = [Reading("a", "p", POWER, START_MS, 1000.0)]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        store.rollup(0)
        store.rollup(NOW_MS)

        assert defined(said, NOW_MS) == told(store.figures())


def test_the_greater_value_holds_over_a_gap_that_a_late_reading_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value that a late sign of life carries on is the greater of two, however the two are sorted."""
    hour_start_ms = START_MS + 28 * HOUR_MS
    hold_ms = 10 * 60_000
    monkeypatch.setattr(oracle, "HOLD_MS", hold_ms)
    names = [f"d{number}" for number in range(300)]
    now_ms = hour_start_ms + 65 * 60_000  # the hour is over, but still open to stragglers: all is in runs
    said: list[Reading] = []
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db", hold_ms=hold_ms)) as store:
        for code, minute, value in ((POWER, 1, 1.0), (POWER, 1, 2.0), (POWER, 50, 3.0), (TEMPERATURE, 30, 20.0)):
            batch = [Reading(name, "p", code, hour_start_ms + minute * 60_000, value) for name in names]
            said += batch
            store.append([Block.of(batch)], now_ms)
            store.rollup(now_ms)

        assert defined(said, now_ms) == told(store.figures())


def test_what_trying_again_will_not_mend_is_said_as_such(tmp_path: Path) -> None:
    """A folder in the file's place, a file in the folder's place, or a file of something else: not "try again"."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to be taken for one" * 20)
    (tmp_path / "file").write_text("x")
    for name, words in (
        ("folder.db", "is a folder"),
        ("text.db", "is not a database"),
        ("file/a.db", "cannot be written"),
    ):
        with pytest.raises(SetupError, match=words):
            open_store(f"sqlite:///{tmp_path}/{name}", hold_ms=HOLD_MS)
