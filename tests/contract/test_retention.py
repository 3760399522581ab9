"""After old readings are removed, figures are what they were: older ones untouched, newer ones the definition's."""

import random
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.messages import POWER, TEMPERATURE, TIME_MIN_MS, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages, Store
from heatfleet.storage.block import Block
from tests.contract.stores import StoreBackend, in_files
from tests.oracle import HOLD_MS, Row, defined, told

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
DAYS = 8
NOW_MS = START_MS + DAYS * DAY_MS
AGES = Ages(retention_days=2)


@pytest.fixture
def url(store_url: str) -> str:
    """The address of an empty store of each kind."""
    return store_url


def a_history(dice: random.Random, readings: int = 150) -> list[Reading]:
    """A few devices over eight days, in order of time; some speak seldom, or in one code only."""
    said = [
        Reading(
            dice.choice("aaaaabbbcd"),
            dice.choice("ppppq"),
            dice.choice([POWER, TEMPERATURE, TEMPERATURE]),
            START_MS + dice.choice([dice.randrange(DAYS * 24 * 60) * 60_000, dice.randrange(DAYS * 96) * SLOT_MS]),
            float(dice.randrange(0, 60)),
        )
        for _ in range(readings)
    ]
    return sorted([*said, Reading("d", "q", POWER, START_MS + 5, 7.0)], key=lambda one: one.time_ms)


def make_room(store: Store) -> None:
    while store.make_room():
        pass


def since(rows: Iterable[Row], first_ms: int) -> list[Row]:
    return [row for row in rows if row[0] * SLOT_MS >= first_ms]


def expect_right(store: Store, said: list[Reading], oldest_ms: int) -> None:
    """The figures of fleet and products are those of all readings there ever were; of devices from a day on."""
    for product in (None, "p", "q"):
        assert defined(said, NOW_MS, product_id=product) == told(store.figures(product_id=product))
    for device in "abcd":
        own = [reading for reading in said if reading.device_id == device]
        for product in (None, "q"):
            newer = since(defined(own, NOW_MS, product_id=product), oldest_ms)

            assert newer == since(told(store.device_figures(device, product_id=product)), oldest_ms)


def test_figures_outlive_their_readings(store_backend: StoreBackend, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As days go one after the other, with late readings in between and a rebuild at the end."""

    @store_backend.examples(8)
    @given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 5))
    def live(seed: int, steps: int) -> None:
        dice = random.Random(seed)
        archive_after_days = dice.choice([0, 1, 2]) if store_backend.name == "sqlite" else 0
        ages = AGES._replace(archive_after_days=archive_after_days)
        url = store_backend.url(tmp_path_factory.mktemp("store"))
        with closing(open_store(url, hold_ms=HOLD_MS, ages=ages)) as store:
            live_on(store, dice, steps)

    live()


def live_on(store: Store, dice: random.Random, steps: int) -> None:
    """Eight days in so many steps."""
    whole = a_history(dice)
    said: list[Reading] = []
    late: list[Reading] = []
    for step in range(1, steps + 1):
        until_ms = NOW_MS if step == steps else START_MS + step * (DAYS * DAY_MS // steps)
        oldest_ms = store.oldest_ms(until_ms)
        come = [one for one in whole if one.time_ms < until_ms and one not in said and one not in late]
        late = [one for one in come if dice.random() < 0.2]
        batch = [one for one in come if one not in late]
        batch += [
            Reading(dice.choice("abcd"), "q", dice.choice([POWER, TEMPERATURE]), time_ms, 61.0)
            for time_ms in (dice.randrange(oldest_ms, until_ms) for _ in range(dice.choice([0, 0, 3])))
            if oldest_ms > TIME_MIN_MS
        ]
        batch = [one for one in batch if one.time_ms >= oldest_ms]
        store.append([Block.of(batch)], until_ms)
        store.rollup(until_ms)
        said += batch
        make_room(store)
        if dice.random() < 0.3:
            store.rebuild(until_ms)
    boundary_ms = (max(one.time_ms for one in said) // DAY_MS - AGES.retention_days) * DAY_MS
    expect_right(store, said, boundary_ms)
    store.rebuild(NOW_MS)
    expect_right(store, said, boundary_ms)
    batch = [one for one in late if one.time_ms >= store.oldest_ms(NOW_MS)]
    store.append([Block.of(batch)], NOW_MS)
    store.rollup(NOW_MS)
    expect_right(store, said + batch, boundary_ms)


@in_files
def test_room_comes_back_at_once(url: str, tmp_path: Path) -> None:
    """The files of days beyond the age are gone; those of the age and of the day before its oldest reading stay."""
    with closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as store:
        said = [Reading("a", "p", POWER, START_MS + day * DAY_MS, 5.0) for day in range(DAYS)]
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)

        assert START_MS + 5 * DAY_MS == told(store.device_figures("a"))[0][0] * SLOT_MS
    assert [f"readings-2024-{day}.db" for day in ("11-30", "12-01", "12-02", "12-03")] == [
        path.name for path in sorted(tmp_path.glob("heatfleet.db.d/readings-*"))
    ]


def test_a_value_holds_however_old_it_is(url: str) -> None:
    """A heater told its power once, long before all that is kept; its temperature keeps it alive."""
    said = [Reading("a", "p", POWER, START_MS, 1000.0)]
    said += [
        Reading("a", "p", TEMPERATURE, START_MS + minute * 60_000, 20.0) for minute in range(30, DAYS * 24 * 60, 30)
    ]
    with closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)
        late = Reading("a", "p", TEMPERATURE, NOW_MS - DAY_MS - 1, 30.0)
        store.append([Block.of([late])], NOW_MS)
        store.rollup(NOW_MS)

        expect_right(store, [*said, late], NOW_MS - 3 * DAY_MS)
        day = store.device_figures("a", (NOW_MS - DAY_MS) // SLOT_MS, NOW_MS // SLOT_MS)

        assert 1000 * 24 * 3_600_000 == day.energy_mj.sum()


def test_the_oldest_that_is_taken_never_goes_back(url: str) -> None:
    """Not with a clock set a little, and never before what was removed; a clock that was far ahead leaves no trace."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        assert TIME_MIN_MS == store.oldest_ms(NOW_MS)
    with closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as store:
        assert NOW_MS - 2 * DAY_MS == store.oldest_ms(NOW_MS)
        assert NOW_MS - 2 * DAY_MS == store.oldest_ms(NOW_MS - HOUR_MS)
        assert NOW_MS + 998 * DAY_MS == store.oldest_ms(NOW_MS + 1000 * DAY_MS)  # a clock that is wrong
        assert NOW_MS - 2 * DAY_MS == store.oldest_ms(NOW_MS)
        said = [Reading("a", "p", POWER, START_MS + day * DAY_MS, 5.0) for day in range(DAYS)]
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)
    for ages in (Ages(retention_days=30), Ages()):
        with closing(open_store(url, hold_ms=HOLD_MS, ages=ages)) as store:
            assert START_MS + 5 * DAY_MS == store.oldest_ms(NOW_MS)
            store.oldest_ms(NOW_MS + 1000 * DAY_MS)
            assert START_MS + 5 * DAY_MS == store.oldest_ms(NOW_MS)


def test_a_wrong_clock_removes_nothing(url: str) -> None:
    """Days go when devices have spoken that long after them, whatever the clock says."""
    said = [Reading("a", "p", POWER, START_MS + day * DAY_MS, 5.0) for day in range(3)]
    with closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS + 1000 * DAY_MS)
        make_room(store)

        assert [row[:2] for row in defined(said, NOW_MS)] == [row[:2] for row in told(store.device_figures("a"))]


def test_a_reading_that_slipped_in_after_its_day_is_not_counted(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server whose clock was set back takes what it must not: it changes no figure and brings no file back."""
    said = [Reading("a", "p", POWER, START_MS + day * DAY_MS, 5.0) for day in range(DAYS)]
    with closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)
        before = told(store.figures())
        store.append([Block.of([Reading("b", "p", POWER, START_MS, 5.0)])], NOW_MS)
        store.rollup(NOW_MS)

        assert before == told(store.figures())
        store.rebuild(NOW_MS)

        assert before == told(store.figures())
    assert not (tmp_path / "heatfleet.db.d" / "readings-2024-11-26.db").exists()
    assert ["1 readings of days that were removed are not counted: is the clock right?"] == caplog.messages
