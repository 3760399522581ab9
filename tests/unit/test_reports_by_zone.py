"""Cells of any zone and range are what a slow count gives that asks the zone about every slot."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.slots import SLOT_MS, SLOT_S
from heatfleet.reports import Interval, Question, cells
from tests.unit.hand_made_figures import Row, figures, slot

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/St_Johns",
    "America/Havana",
    "Asia/Kathmandu",
    "Asia/Colombo",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Antarctica/Casey",
]
DAYS_OF_CHANGE = [
    "2026-03-29", "2026-10-25",  # Europe
    "2007-03-11", "2007-11-04", "2026-03-08", "2026-11-01",  # North America
    "2006-04-15", "2015-08-15", "2018-05-05",  # Colombo, Pyongyang
    "2026-04-05", "2026-10-04", "2026-09-27",  # Lord Howe, Chatham
    "2011-12-30", "2010-03-04", "2010-03-05",  # Apia leaves a day out, Casey goes back over midnight
]  # fmt: skip


def reference(
    rows: list[Row], zone: ZoneInfo, interval: Interval, first_slot: int, end_slot: int
) -> dict[tuple[object, ...], list[int]]:
    """The same by asking the zone about every slot: name of the cell -> its first and end slot, sums, expectation.

    A cell's name is its local date and time and its offset; days have no offset.
    """
    labels: dict[int, tuple[object, ...]] = {}
    hours: dict[int, tuple[object, ...]] = {}
    day = ""
    for place in range(first_slot - 400, end_slot + 400):
        clock = datetime.fromtimestamp(place * SLOT_S, zone)
        day = max(day, f"{clock:%Y-%m-%d}")
        hours[place] = (f"{clock:%Y-%m-%d %H}:00", clock.utcoffset())
        quarter = (f"{clock:%Y-%m-%d %H:%M}", clock.utcoffset())
        labels[place] = {"quarter": quarter, "hour": hours[place], "day": (day,)}[interval]
    found: dict[tuple[object, ...], list[int]] = {}
    last_of_hour = {hours[row.slot]: row for row in rows}
    for row in rows:
        covered = [place for place in range(first_slot, end_slot) if labels[place] == labels[row.slot]]
        cell = found.setdefault(labels[row.slot], [covered[0], covered[-1] + 1, 0, 0, 0, 0, 0])
        cell[2] += row.energy_mj
        cell[3] += row.known_ms
        cell[4] += row.temperature_mc_ms
        cell[5] += row.temperature_known_ms
        if interval == "quarter":
            cell[6] = SLOT_MS * row.devices_day
        elif last_of_hour[hours[row.slot]] is row:
            of_hour = [place for place in range(first_slot, end_slot) if hours[place] == hours[row.slot]]
            cell[6] += len(of_hour) * SLOT_MS * row.devices_day
    return {label: cell for label, cell in found.items() if cell[3] or cell[5]}


def row_of(place: int, kind: int) -> Row:
    """A row with numbers of its own; kind 1 knows nothing, 2 the temperature, 3 and 4 power too; 5 is all zeros."""
    if kind == 5:
        return Row(place, 0, 0, 0, 0, 0, 0, 0)
    known_ms = 0 if kind < 3 else 1 + place * 7919 % SLOT_MS
    temperature_known_ms = 0 if kind < 2 else 1 + place * 104_729 % SLOT_MS
    return Row(
        place,
        energy_mj=known_ms * (place % 2500),
        known_ms=known_ms,
        temperature_mc_ms=temperature_known_ms * (place % 50_000 - 20_000),
        temperature_known_ms=temperature_known_ms,
        devices=kind // 3,
        devices_hour=1,
        devices_day=1 + place % 5,
    )


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    interval=st.sampled_from(["quarter", "hour", "day"]),
    start=st.sampled_from(DAYS_OF_CHANGE).map(slot) | st.integers(slot("2000-01-05"), slot("2037-01-01")),
    before=st.integers(0, 130),
    kinds=st.lists(st.integers(0, 5), min_size=1, max_size=260),
    cut=st.booleans(),
)
def test_cells_are_what_the_zone_says_of_each_slot(
    zone: ZoneInfo, interval: Interval, start: int, before: int, kinds: list[int], cut: bool
) -> None:
    """For any zone and range the cells are those of a slow count, disjoint and in order, and lose nothing."""
    first_slot, end_slot = start - before, start - before + len(kinds)
    rows = [row_of(first_slot + index, kind) for index, kind in enumerate(kinds) if kind]
    asked = Question(zone, interval, first_slot, end_slot) if cut else Question(zone, interval)
    found = cells(figures(rows), asked)
    assert sum(row.energy_mj for row in rows) == found.energy_mj.sum()
    assert sum(row.known_ms for row in rows) == found.known_ms.sum()
    assert (found.first_slot < found.end_slot).all()
    assert (found.end_slot[:-1] <= found.first_slot[1:]).all()
    beyond = 0 if cut else 200
    expected = reference(
        [row for row in rows if row.devices_day], zone, interval, first_slot - beyond, end_slot + beyond
    )
    assert list(expected.values()) == [
        list(cell)
        for cell in zip(
            found.first_slot.tolist(),
            found.end_slot.tolist(),
            found.energy_mj.tolist(),
            found.known_ms.tolist(),
            found.temperature_mc_ms.tolist(),
            found.temperature_known_ms.tolist(),
            found.expected_ms.tolist(),
            strict=True,
        )
    ]
    pattern = "%Y-%m-%d" if interval == "day" else "%Y-%m-%d %H:%M"
    assert [label[0] for label in expected] == [
        f"{datetime.fromtimestamp(local_s, UTC):{pattern}}" for local_s in found.local_s.tolist()
    ]
    shown = [
        (local_s, offset_s if repeated else None)
        for local_s, offset_s, repeated in zip(
            found.local_s.tolist(), found.offset_s.tolist(), found.repeated.tolist(), strict=True
        )
    ]
    assert len(shown) == len(set(shown))
