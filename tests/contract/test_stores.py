"""Every store keeps the promises of ``storage.base.Store``, and gives the figures of ``domain.energy`` to the digit."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS, slot_of
from heatfleet.errors import ReportTooSlow
from heatfleet.storage import open_store
from heatfleet.storage.base import DeviceFilter, Patience, Store
from heatfleet.storage.block import Block
from tests.contract.stores import StoreBackend
from tests.oracle import defined, told

MIDNIGHT_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = MIDNIGHT_MS + 30 * HOUR_MS
HOLD_MS = HOUR_MS  # what the oracle holds for, too


@pytest.fixture
def url(store_url: str) -> str:
    """The address of an empty store of each kind."""
    return store_url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store of each kind, open for appending."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as opened:
        yield opened


def append(store: Store, readings: Sequence[Reading]) -> None:
    """Append as a server would, taking the readings' arrival as now."""
    store.append([Block.of(readings)], NOW_MS)


moments_ms = st.one_of(
    st.integers(MIDNIGHT_MS, NOW_MS + 300_000),
    st.integers(0, 120).map(lambda quarter: MIDNIGHT_MS + quarter * SLOT_MS),  # edges and coincidences
)
readings_ = st.builds(
    Reading,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["p", "p", "p", "q"]),
    st.sampled_from([POWER, TEMPERATURE]),
    moments_ms,
    st.one_of(st.sampled_from([0.0, 1500.0]), st.floats(0, 100).map(lambda value: round(value, 3))),
)
histories = st.lists(st.lists(readings_, min_size=1, max_size=12), min_size=1, max_size=6)


@pytest.mark.timeout(900)
def test_figures_are_those_of_the_definition(
    store_backend: StoreBackend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any readings, in any order and split, with rollups at any instants between, give the definition's figures."""

    @store_backend.examples()
    @given(history=histories, nows_ms=st.lists(st.integers(MIDNIGHT_MS, NOW_MS), max_size=6), data=st.data())
    def live(history: list[list[Reading]], nows_ms: list[int], data: st.DataObject) -> None:
        with closing(open_store(store_backend.url(tmp_path_factory.mktemp("store")), hold_ms=HOLD_MS)) as store:
            rollups = iter([*sorted(nows_ms), *[NOW_MS] * len(history)])
            for batch in history:
                append(store, batch)
                if data.draw(st.booleans()):
                    store.rollup(next(rollups))
            store.rollup(NOW_MS)
            expect_defined(store, [reading for batch in history for reading in batch])

    live()


def expect_defined(store: Store, everything: list[Reading]) -> None:
    """All figures are those of the definition, also after they are made anew."""
    assert defined(everything, NOW_MS) == told(store.figures())
    assert defined(everything, NOW_MS, product_id="q") == told(store.figures(product_id="q"))
    for device in ("a", "b"):
        own = [reading for reading in everything if reading.device_id == device]
        assert defined(own, NOW_MS) == told(store.device_figures(device))
    assert defined([r for r in everything if r.device_id == "a"], NOW_MS, product_id="q") == told(
        store.device_figures("a", product_id="q"),
    )

    before = [store.device(name) for name in "abc"], told(store.figures(product_id="p"))
    store.rebuild(NOW_MS)
    assert defined(everything, NOW_MS) == told(store.figures())
    assert before == ([store.device(name) for name in "abc"], told(store.figures(product_id="p")))


def test_the_hour_after_the_last_word_is_held_and_cut_at_now(store: Store) -> None:
    """The open hour counts up to now, and later rollups carry the held value on to the hold's end, not beyond."""
    append(store, [Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)])
    energies_wh = []
    for minutes in (10, 20, 60, 90):
        store.rollup(MIDNIGHT_MS + minutes * 60_000)
        energies_wh.append(int(store.figures().energy_mj.sum()) / 3_600_000)

    assert [pytest.approx(1000 / 6), pytest.approx(1000 / 3), 1000.0, 1000.0] == energies_wh


def test_a_reading_from_the_near_future_waits_for_its_time(store: Store) -> None:
    """A device's clock may run ahead: its reading counts when its time has come, and is not lost meanwhile."""
    ahead = Reading("a", "p", POWER, MIDNIGHT_MS + 200_000, 1000.0)
    append(store, [ahead])
    store.rollup(MIDNIGHT_MS)

    assert store.device("a") is None

    store.rollup(NOW_MS)

    assert defined([ahead], NOW_MS) == told(store.figures())


def test_a_device_comes_back_as_another_product(store: Store) -> None:
    """After days of silence, or at once: what it said before stays with the product it was then."""
    said = [
        Reading("a", "p", POWER, MIDNIGHT_MS - 3 * DAY_MS, 1000.0),
        Reading("b", "p", POWER, MIDNIGHT_MS, 500.0),
    ]
    append(store, said)
    store.rollup(MIDNIGHT_MS + 1)
    back = [
        Reading("a", "q", TEMPERATURE, MIDNIGHT_MS + HOUR_MS, 20.0),
        Reading("b", "q", POWER, MIDNIGHT_MS + SLOT_MS, 500.0),
        Reading("b", "p", POWER, MIDNIGHT_MS + HOUR_MS, 400.0),
    ]
    for one in back:
        append(store, [one])
        store.rollup(one.time_ms + 1)
    store.rollup(NOW_MS)

    for product in (None, "p", "q"):
        assert defined(said + back, NOW_MS, product_id=product) == told(store.figures(product_id=product))


def test_a_device_comes_back_a_day_later_as_another_product(store: Store) -> None:
    """What was known before its last word still counts in the day after it, though it is not looked at again."""
    said = [
        Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0),
        Reading("a", "p", POWER, MIDNIGHT_MS + 3 * SLOT_MS, 500.0),
    ]
    append(store, said)
    store.rollup(MIDNIGHT_MS + 4 * SLOT_MS)
    back = [Reading("a", "q", POWER, MIDNIGHT_MS + 25 * HOUR_MS + 40 * 60_000, 700.0)]
    append(store, back)
    store.rollup(NOW_MS)

    for product in (None, "p", "q"):
        assert defined(said + back, NOW_MS, product_id=product) == told(store.figures(product_id=product))


def test_late_words_meet_all_that_came_before_them(store: Store) -> None:
    """In the open hour, by turns in order and late: each is reckoned against all others, looked at before or not."""
    minutes = [0, 20, 10, 30, 25, 40, 35, 5]
    said = [Reading("a", "p", POWER, MIDNIGHT_MS + minute * 60_000, 100.0 + 7 * minute) for minute in minutes]
    now_ms = MIDNIGHT_MS + 50 * 60_000
    for count, reading in enumerate(said, start=1):
        append(store, [reading])
        store.rollup(now_ms)
        assert defined(said[:count], now_ms) == told(store.figures())


def test_coverage_of_the_open_hour_is_counted_to_its_end(store: Store) -> None:
    """The slots up to the end of the hour that now lies in say how many devices that hour's coverage is of."""
    append(store, [Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)])
    store.rollup(MIDNIGHT_MS + 60_000)
    figures = store.figures()

    assert [slot_of(MIDNIGHT_MS) + quarter for quarter in range(4)] == figures.slot.tolist()
    assert figures.devices_day.tolist() == [1, 1, 1, 1]
    assert figures.known_ms.tolist() == [60_000, 0, 0, 0]


def test_a_range_of_slots_is_half_open(store: Store) -> None:
    """The first slot asked for is given, the end is not; so it is for one device too."""
    append(store, [Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)])
    store.rollup(NOW_MS)
    first = slot_of(MIDNIGHT_MS)

    assert [first + 1, first + 2] == store.figures(first + 1, first + 3).slot.tolist()
    assert [first + 1, first + 2] == store.device_figures("a", first + 1, first + 3).slot.tolist()


def test_devices_nobody_heard_of_have_no_figures(store: Store) -> None:
    """An unknown device or product gives empty figures and no state, not an error."""
    store.rollup(NOW_MS)

    assert told(store.device_figures("nobody")) == []
    assert told(store.figures(product_id="nothing")) == []
    assert store.device("nobody") is None


def test_the_state_of_a_device_is_its_newest_word(store: Store) -> None:
    """Power and temperature each come with their own time; a late reading changes neither."""
    append(
        store,
        [
            Reading("a", "p", POWER, MIDNIGHT_MS + 5, 700.0),
            Reading("a", "p", TEMPERATURE, MIDNIGHT_MS + 9, 19.5),
            Reading("b", "q", TEMPERATURE, MIDNIGHT_MS, 21.0),
        ],
    )
    store.rollup(NOW_MS)
    append(store, [Reading("a", "p", POWER, MIDNIGHT_MS, 100.0)])
    store.rollup(NOW_MS)
    state = store.device("a")

    assert state is not None
    assert (
        state.device_id, state.product_id, state.power_w, state.power_time_ms, state.temperature_c,
        state.temperature_time_ms, state.last_seen_ms,
    ) == ("a", "p", 700.0, MIDNIGHT_MS + 5, 19.5, MIDNIGHT_MS + 9, MIDNIGHT_MS + 9)  # fmt: skip


def test_devices_are_listed_by_filter_and_page(store: Store) -> None:
    """Product, known or silent, on or off: each narrows the list, and a position goes on where a page ended."""
    append(
        store,
        [
            Reading("a", "p", POWER, NOW_MS - 60_000, 700.0),
            Reading("b", "p", POWER, NOW_MS - 60_000, 0.0),
            Reading("c", "q", POWER, NOW_MS - 2 * HOUR_MS, 900.0),
            Reading("d", "q", TEMPERATURE, NOW_MS - 60_000, 20.0),
        ],
    )
    store.rollup(NOW_MS)

    def names(wanted: DeviceFilter) -> str:
        return "".join(state.device_id for state in store.devices(wanted, now_ms=NOW_MS).devices)

    assert names(DeviceFilter()) == "abcd"
    assert names(DeviceFilter(product_id="p")) == "ab"
    assert names(DeviceFilter(known=True)) == "abd"
    assert names(DeviceFilter(known=False)) == "c"
    assert names(DeviceFilter(on=True)) == "ac"
    assert names(DeviceFilter(on=False)) == "bd"
    assert names(DeviceFilter(product_id="nothing")) == ""
    first = store.devices(DeviceFilter(), now_ms=NOW_MS, limit=3)
    assert first.position is not None
    rest = store.devices(DeviceFilter(), now_ms=NOW_MS, position=first.position, limit=3)
    assert [state.device_id for state in rest.devices] == ["d"]
    assert rest.position is None


def test_the_lag_is_the_age_of_what_no_figure_counts(store: Store) -> None:
    """Accepted readings age until a rollup takes them."""
    store.append([Block.of([Reading("a", "p", POWER, MIDNIGHT_MS, 700.0)])], MIDNIGHT_MS + 1000)
    before = store.status(MIDNIGHT_MS + 61_000)
    store.rollup(MIDNIGHT_MS + 61_000)
    after = store.status(MIDNIGHT_MS + 62_000)

    assert (before.as_of_ms, before.devices) == (0, 0)
    assert 50_000 < before.lag_ms <= 60_000  # an append that had to be tried again arrived that much later
    assert (after.as_of_ms, after.lag_ms, after.devices) == (MIDNIGHT_MS + 61_000, 0, 1)


def test_what_was_appended_is_there_after_reopening(url: str) -> None:
    """Closing and opening loses nothing, before a rollup and after it."""
    said = [Reading("a", "p", POWER, MIDNIGHT_MS + minute * 60_000, float(minute)) for minute in range(100)]
    for start in range(0, 100, 25):
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            append(store, said[start : start + 25])
            if start == 50:
                store.rollup(NOW_MS)
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        store.rollup(NOW_MS)

        assert defined(said, NOW_MS) == told(store.figures())


def test_nobody_is_read_for_who_does_not_wait(store: Store) -> None:
    """Once the patience is over no figures are read, and the next who asks is served."""
    append(store, [Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)])
    store.rollup(NOW_MS)
    impatient = Patience()
    impatient.end()

    with pytest.raises(ReportTooSlow):
        store.device_figures("a", patience=impatient)
    assert told(store.figures()) == told(store.device_figures("a", patience=Patience()))
