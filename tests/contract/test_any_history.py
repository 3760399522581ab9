"""Any history, any order of rollups and rebuilds by any handle, any size of step: the figures are the definition's."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages, DeviceFilter, DeviceState, Store
from heatfleet.storage.block import Block
from tests import oracle
from tests.contract.stores import StoreBackend, in_files
from tests.contract.test_retention import make_room
from tests.oracle import defined, told

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
# Every bound at which a store takes things apart, made so small that each story crosses it.
IN_FILES: dict[str, st.SearchStrategy[int]] = {
    "reckoner.READINGS_A_STEP": st.integers(1, 12),
    "reckoner.STEPS_A_TRANSACTION": st.integers(1, 3),
    "reckoner.LATE_AT_ONCE": st.sampled_from([0, 5, 200_000]),
    "reckoner.COUNTED_AT_ONCE": st.integers(1, 12),
    "reckoner.PLACED_AT_ONCE": st.integers(1, 6),
    "reckoner.OPEN_AT_ONCE": st.integers(1, 3),
    "reckoner.SEAL_AFTER_MS": st.sampled_from([0, 60_000, 600_000, 5 * HOUR_MS]),
    "journal.FILE_BYTES_MAX": st.sampled_from([0, 20_000, 1 << 28]),
    "revise.ROWS_AT_ONCE": st.sampled_from([1, 7, 65_536]),
    "distinct.BYTES_AT_ONCE": st.integers(1, 2),
    "heard.MAPS_IN_MEMORY": st.integers(1, 9),
    "heard.PUT_AT_ONCE": st.sampled_from([0, 3, 1_000_000]),
    "days.READ_AT_ONCE": st.integers(2, 9),
    "days._OPEN_MAX": st.integers(1, 2),
    "days.SHEET_ROWS": st.integers(1, 4),
    "integrate.DENSE_MAX": st.sampled_from([0, 5, 100_000]),
    "fleet.AT_ONCE": st.integers(1, 3),
    "fleet.ROWS_A_STATEMENT": st.integers(1, 4),
    "runs._KEPT_PARTS": st.integers(1, 2),
    "runs.PART_SHIFT": st.sampled_from([0, 1, 15]),
    "names._PIECE": st.integers(1, 3),
    "removal.STEP_BYTES": st.sampled_from([32_768, 1 << 22]),
    "removal.STEPS_A_PIECE": st.integers(1, 3),
    "removal.PAUSE_S": st.just(0),
    "room.ROWS_A_GROUP": st.integers(1, 9),
    "room.MERGE_SHARE": st.sampled_from([0, 8, 1 << 20]),
}
TINY: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "sqlite": {f"sqlite.{name}": size for name, size in IN_FILES.items()},
    "bigquery": {
        "bigquery.reckoner.BACK_MS": st.sampled_from([(0,), (HOUR_MS, DAY_MS), (0, 30 * DAY_MS)]),
        "bigquery.reckoner.AHEAD_MS": st.sampled_from([(0,), (25 * HOUR_MS, 2 * DAY_MS), (3 * DAY_MS, 33 * DAY_MS)]),
        "bigquery.reckoner.DAYS_APART": st.sampled_from([1, 4]),
        "bigquery.reckoner.PASSES_MAX": st.sampled_from([1, 2, 8]),
        "bigquery.questions.BACK_MS": st.sampled_from([(HOUR_MS,), (32 * DAY_MS, 400 * DAY_MS)]),
    },
}
HOLDS_MS = [1_000, 60_000, SLOT_MS, HOUR_MS, DAY_MS]
PAUSES_MS = [0, 1, 999, 55_000, 60_000, SLOT_MS, HOUR_MS, 5 * HOUR_MS, 25 * HOUR_MS, 40 * DAY_MS]


class Step(NamedTuple):
    """Readings to append, or else a rollup or rebuild at an instant by one of two handles."""

    said: Sequence[Reading] = ()
    now_ms: int = 0
    handle: int = 0
    rebuild: bool = False


class Story(NamedTuple):
    hold_ms: int
    sizes: dict[str, Any]
    steps: list[Step]
    end_ms: int


def batches(draw: st.DrawFn, now_ms: int, spread_ms: int, said: list[Reading]) -> list[Reading]:
    edge_ms = now_ms // SLOT_MS * SLOT_MS
    times_ms = [
        st.integers(now_ms - spread_ms, now_ms + 300_000),
        st.integers(now_ms - 300_000, now_ms + 300_000),
        st.integers(-8, 0).map(lambda slots: edge_ms + slots * SLOT_MS),
        st.integers(-8, 1).map(lambda slots: edge_ms + slots * SLOT_MS - 1).filter(lambda ms: ms <= now_ms + 300_000),
    ]
    if said:
        times_ms.append(st.sampled_from([one.time_ms for one in said]))
    one = st.builds(
        Reading,
        st.sampled_from([f"d{number}" for number in range(12)]),
        st.sampled_from("qqqzb"),
        st.sampled_from([POWER, TEMPERATURE]),
        st.one_of(times_ms),
        st.sampled_from([0.0, 0.5, 7.3, 60.0]),
    )
    return draw(st.lists(one, min_size=1, max_size=14))


@st.composite
def stories(draw: st.DrawFn, backend: str) -> Story:
    spread_ms = draw(st.sampled_from([20 * 60_000, 3 * HOUR_MS, 30 * HOUR_MS, 90 * DAY_MS]))
    now_ms = START_MS + draw(st.sampled_from([0, 1, -1, 30_000, HOUR_MS, 600_000]))
    said: list[Reading] = []
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(["say", "say", "say", "again", "rollup", "rollup", "rebuild"]))
        if kind == "say":
            steps.append(Step(said=batches(draw, now_ms, spread_ms, said)))
            said += steps[-1].said
        elif kind == "again":
            steps.append(Step(said=list(said)))
        else:
            now_ms += draw(st.sampled_from(PAUSES_MS))
            steps.append(Step(now_ms=now_ms, handle=draw(st.integers(0, 1)), rebuild=kind == "rebuild"))
    sizes = {name: draw(size) for name, size in TINY[backend].items()}
    end_ms = now_ms + draw(st.sampled_from([1, 500_000, DAY_MS]))
    return Story(draw(st.sampled_from(HOLDS_MS)), sizes, steps, end_ms)


@pytest.mark.timeout(900)
def test_any_story_ends_with_the_figures_of_the_definition(
    store_backend: StoreBackend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However readings come and whoever rolls up, the end is the definition: for the fleet, products and devices."""

    @store_backend.examples()
    @given(story=stories(store_backend.name))
    def live(story: Story) -> None:
        live_through(story, store_backend, tmp_path_factory.mktemp("store"), Ages())

    live()


@in_files
def test_any_story_whose_days_are_archived_ends_so_too(
    store_backend: StoreBackend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same when each day becomes a Parquet file as soon as it may, and again when enough came late for it."""

    @settings(max_examples=10)
    @given(story=stories(store_backend.name), after_days=st.integers(1, 2))
    def live(story: Story, after_days: int) -> None:
        ages = Ages(archive_after_days=after_days)
        live_through(story, store_backend, tmp_path_factory.mktemp("store"), ages)

    live()


def live_through(story: Story, backend: StoreBackend, folder: Path, ages: Ages) -> None:
    """Append, roll up, make room and rebuild as the story says; the figures are right after each step."""
    url, devices = backend.url(folder), backend.devices_asked
    with ExitStack() as during:
        for name, value in story.sizes.items():
            during.enter_context(patch(f"heatfleet.storage.{name}", value))
        during.enter_context(patch.object(oracle, "HOLD_MS", story.hold_ms))
        server = during.enter_context(closing(open_store(url, hold_ms=story.hold_ms, ages=ages)))
        by_hand = during.enter_context(closing(open_store(url, hold_ms=story.hold_ms, writable=False)))
        said: list[Reading] = []
        for step in story.steps:
            for start in range(0, len(step.said), 5):
                server.append([Block.of(step.said[start : start + 5])], START_MS)
            said += step.said
            if not step.said and step.now_ms:
                handle: Any = (server, by_hand)[step.handle]
                (handle.rebuild if step.rebuild else handle.rollup)(step.now_ms)
                expect_right(server, said, step.now_ms, devices)
                if ages != Ages():
                    make_room(handle)
                    expect_right(server, said, step.now_ms, devices)
        by_hand.rollup(story.end_ms)
        expect_right(server, said, story.end_ms, devices)
        states = server.devices(DeviceFilter(), now_ms=story.end_ms).devices
        for state in states:
            expect_newest(state, [one for one in said if one.device_id == state.device_id], story.end_ms)
        server.rebuild(story.end_ms)
        expect_right(server, said, story.end_ms, devices)

        assert states == server.devices(DeviceFilter(), now_ms=story.end_ms).devices


def expect_right(store: Store, said: list[Reading], now_ms: int, devices: int) -> None:
    """The figures of the fleet, of each product and of so many devices are those of the definition."""
    for product in (None, "q", "z"):
        assert defined(said, now_ms, product_id=product) == told(store.figures(product_id=product))
    for device in sorted({reading.device_id for reading in said})[:devices]:
        own = [reading for reading in said if reading.device_id == device]
        first_slot = now_ms // SLOT_MS - 3

        assert defined(own, now_ms) == told(store.device_figures(device))
        assert defined(own, now_ms, product_id="q") == told(store.device_figures(device, product_id="q"))
        assert [row for row in defined(own, now_ms) if row[0] >= first_slot] == told(
            store.device_figures(device, first_slot)
        )


def expect_newest(state: DeviceState, said: list[Reading], now_ms: int) -> None:
    """A device's state is its newest word before now."""
    come = [one for one in said if one.time_ms < now_ms]
    last_ms = max(one.time_ms for one in come)

    assert last_ms == state.last_seen_ms
    assert max(one.product_id for one in come if one.time_ms == last_ms) == state.product_id
    for code, value, time_ms in (
        (POWER, state.power_w, state.power_time_ms),
        (TEMPERATURE, state.temperature_c, state.temperature_time_ms),
    ):
        newest = max(((one.time_ms, one.value) for one in come if one.code == code), default=(None, None))
        assert newest == (time_ms, value)
