"""Every store keeps the promises of ``storage.base.Store``, and gives the figures of ``domain.energy`` to the digit."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatfleet.domain.energy import tally
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS, slot_of
from heatfleet.errors import SetupError
from heatfleet.storage import open_store
from heatfleet.storage.base import DeviceFilter, Figures, Store

# The table of backends: a name, and how to give one an address in a fresh folder.
STORES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/heatfleet.db",
}

MIDNIGHT_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = MIDNIGHT_MS + 30 * HOUR_MS
HOLD_MS = HOUR_MS

Row = tuple[int, int, int, int, int, int, int, int]


@pytest.fixture(params=STORES.values(), ids=STORES.keys())
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of each kind."""
    address: str = request.param(tmp_path)
    return address


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store of each kind, open for appending."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as opened:
        yield opened


def defined(readings: Iterable[Reading], now_ms: int, product_id: str | None = None) -> list[Row]:
    """The figures of a fleet by the definition, one row a slot; slots where nothing is known are left out."""
    by_device: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.time_ms <= now_ms:
            by_device[reading.device_id].append(reading)
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    known: dict[int, set[str]] = defaultdict(set)
    for device, said in by_device.items():
        for (product, slot), cell in tally(said, hold_ms=HOLD_MS, now_ms=now_ms).items():
            if product_id in (None, product):
                parts = (cell.energy_mj, cell.known_ms, cell.temperature_mc_ms, cell.temperature_known_ms)
                sums[slot] = [a + b for a, b in zip(sums[slot], parts, strict=True)]
                if cell.known_ms:
                    known[slot].add(device)

    def distinct(slot: int, width: int) -> int:
        return len(set().union(*(known.get(slot - back, set()) for back in range(width))))

    return [
        (slot, *cells, distinct(slot, 1), distinct(slot, 4), distinct(slot, 96))  # type: ignore[misc]
        for slot, cells in sorted(sums.items())
        if any(cells)
    ]


def told(figures: Figures) -> list[Row]:
    """A store's figures as rows, without the slots where nothing is known."""
    columns = (
        figures.slot, figures.energy_mj, figures.known_ms, figures.temperature_mc_ms, figures.temperature_known_ms,
        figures.devices, figures.devices_hour, figures.devices_day,
    )  # fmt: skip
    rows: list[Row] = list(zip(*(column.tolist() for column in columns), strict=True))
    return [row for row in rows if row[2] or row[4]]


def append(store: Store, readings: Sequence[Reading]) -> None:
    """Append as a server would, taking the readings' arrival as now."""
    store.append(readings, NOW_MS)


moments_ms = st.one_of(
    st.integers(MIDNIGHT_MS, NOW_MS + 300_000),
    st.integers(0, 120).map(lambda quarter: MIDNIGHT_MS + quarter * SLOT_MS),  # edges and coincidences
)
readings_ = st.builds(
    lambda device, product, code, time_ms, value: Reading(device, product, code, time_ms, value),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["p", "p", "p", "q"]),
    st.sampled_from([POWER, TEMPERATURE]),
    moments_ms,
    st.one_of(st.sampled_from([0.0, 1500.0]), st.floats(0, 100).map(lambda value: round(value, 3))),
)
histories = st.lists(st.lists(readings_, min_size=1, max_size=12), min_size=1, max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(history=histories, nows_ms=st.lists(st.integers(MIDNIGHT_MS, NOW_MS), max_size=6), data=st.data())
def test_figures_are_those_of_the_definition(
    history: list[list[Reading]],
    nows_ms: list[int],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Any readings, in any order and split, with rollups at any instants between, give the definition's figures."""
    for make_url in STORES.values():
        address = make_url(tmp_path_factory.mktemp("store"))
        with closing(open_store(address, hold_ms=HOLD_MS)) as store:
            rollups = iter([*sorted(nows_ms), *[NOW_MS] * len(history)])
            for batch in history:
                append(store, batch)
                if data.draw(st.booleans()):
                    store.rollup(next(rollups))
            store.rollup(NOW_MS)
            everything = [reading for batch in history for reading in batch]

            assert defined(everything, NOW_MS) == told(store.figures())
            assert defined(everything, NOW_MS, "q") == told(store.figures(product_id="q"))
            for device in ("a", "b"):
                own = [reading for reading in everything if reading.device_id == device]
                assert defined(own, NOW_MS) == told(store.device_figures(device))
            assert defined([r for r in everything if r.device_id == "a"], NOW_MS, "q") == told(
                store.device_figures("a", product_id="q"),
            )

            before = [store.device(name) for name in "abc"], told(store.figures(product_id="p"))
            store.rebuild(NOW_MS)
            assert defined(everything, NOW_MS) == told(store.figures())
            assert before == ([store.device(name) for name in "abc"], told(store.figures(product_id="p")))
