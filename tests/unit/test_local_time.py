"""Local clocks: offsets over slots, repeated hours, and the slots that dates and times name."""

from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.local_time import OffsetRun, find_zone, offset_runs, repeated_hours, slot_at
from heatfleet.domain.slots import SLOT_S

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/St_Johns",
    "America/Havana",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Asia/Gaza",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Antarctica/Casey",
]


def slot(instant: str) -> int:
    """The slot that starts at an instant in UTC."""
    return int(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp()) // SLOT_S


def hours(*local: str) -> list[int]:
    """Local hours as they are counted: hours since 1970 on the local clock."""
    return [slot(hour) // 4 for hour in local]


@pytest.mark.parametrize(
    ("zone", "day", "transition", "before_s", "after_s"),
    [
        ("Europe/Paris", "2026-03-29", "2026-03-29T01:00", 3600, 7200),
        ("Europe/Paris", "2026-10-25", "2026-10-25T01:00", 7200, 3600),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T15:00", 39600, 37800),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T15:30", 37800, 39600),
        ("America/St_Johns", "2026-11-01", "2026-11-01T04:30", -9000, -12600),
        # At 00:01 until 2011: the slot that had begun keeps the offset it began with.
        ("America/St_Johns", "2007-11-04", "2007-11-04T02:45", -9000, -12600),
    ],
)
def test_a_transition_parts_two_runs(zone: str, day: str, transition: str, before_s: int, after_s: int) -> None:
    """Around a transition there are two runs that meet at the first slot under the new offset."""
    start = slot(day)
    runs = offset_runs(ZoneInfo(zone), start, start + 96)
    assert [
        OffsetRun(start - 192, slot(transition), before_s),
        OffsetRun(slot(transition), start + 288, after_s),
    ] == runs


@given(st.sampled_from(ZONES), st.integers(slot("2000-01-01"), slot("2038-01-01")), st.integers(1, 40_000))
def test_runs_tell_the_offset_of_every_slot(zone: str, first_slot: int, count: int) -> None:
    """Runs cover their range without gaps, and give the offset that the zone has at the start of each slot."""
    runs = offset_runs(ZoneInfo(zone), first_slot, first_slot + count)
    assert runs[0].first_slot < first_slot
    assert runs[-1].end_slot > first_slot + count
    assert [run.end_slot for run in runs[:-1]] == [run.first_slot for run in runs[1:]]
    for run in runs:
        for edge in (run.first_slot, (run.first_slot + run.end_slot) // 2, run.end_slot - 1):
            offset = datetime.fromtimestamp(edge * SLOT_S, ZoneInfo(zone)).utcoffset()
            assert offset is not None
            assert offset.total_seconds() == run.offset_s


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Paris", "2026-03-29", []),
        ("Europe/Paris", "2026-10-25", ["2026-10-25T02:00"]),
        ("Europe/Paris", "2026-07-01", []),
        ("Australia/Lord_Howe", "2026-04-05", ["2026-04-05T01:00"]),
        ("Australia/Lord_Howe", "2026-10-04", []),
        ("Pacific/Chatham", "2026-04-05", ["2026-04-05T02:00", "2026-04-05T03:00"]),
        ("America/Havana", "2026-11-01", ["2026-11-01T00:00"]),
        ("America/Sao_Paulo", "2019-02-17", ["2019-02-16T23:00"]),
        ("Asia/Colombo", "2006-04-15", ["2006-04-15T00:00"]),
        ("Pacific/Apia", "2011-12-30", []),
    ],
)
def test_repeated_hours_are_those_that_come_under_two_offsets(zone: str, day: str, expected: list[str]) -> None:
    """The zone alone says which local hours come twice, wholly or in part."""
    runs = offset_runs(ZoneInfo(zone), slot(day), slot(day) + 96)
    assert hours(*expected) == repeated_hours(runs)


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "2024-12-18", "2024-12-18T00:00"),
        ("Europe/Paris", "2024-12-18", "2024-12-17T23:00"),
        ("Europe/Paris", "2026-03-30", "2026-03-29T22:00"),
        ("Asia/Kathmandu", "2024-12-18", "2024-12-17T18:15"),
        ("Europe/Paris", "2024-12-18T06:00:00Z", "2024-12-18T06:00"),
        ("Europe/Paris", "2024-12-18t06:00:00.000z", "2024-12-18T06:00"),
        ("Europe/Paris", "2024-12-18T06:15:00-03:30", "2024-12-18T09:45"),
        ("Europe/Paris", "2024-12-18T06:15", "2024-12-18T05:15"),
        ("Europe/Paris", "2026-10-25T02:30", "2026-10-25T00:30"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00"),
        ("Europe/Paris", "1970-01-01", "1969-12-31T23:00"),
        ("Europe/Paris", "1900-01-01T00:00", "1899-12-31T23:45"),
    ],
)
def test_a_date_or_time_names_a_slot(zone: str, text: str, expected: str) -> None:
    """Dates are local midnights (or the day's first instant), times local unless they carry an offset."""
    assert slot(expected) == slot_at(text, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "text", "reason"),
    [
        ("Europe/Paris", "2026-03-29T02:00", "must be a time that the zone's clocks show"),
        ("Europe/Paris", "2026-03-29T02:45:00", "must be a time that the zone's clocks show"),
        ("UTC", "2024-12-18T06:10:00Z", "must fall on a quarter"),
        ("UTC", "2024-12-18T06:00:00.001Z", "must fall on a quarter"),
        ("UTC", "2024-12-18T06:00:00+01:05", "must fall on a quarter"),
        ("UTC", "2024-02-30", "that the calendar has"),
        ("UTC", "2024-12-18T06:00:60Z", "that the calendar has"),
        ("UTC", "2024-12-18T06:00:00+25:00", "that the calendar has"),
        ("UTC", "2024-12-18T06:00 01:00", "write + as %2B"),
        ("UTC", "2024-12-18T24:00Z", "must be a date or date-time"),
        ("UTC", "", "must be a date or date-time"),
        ("UTC", "20241218", "must be a date or date-time"),
        ("UTC", "2024-W51-3", "must be a date or date-time"),
        ("UTC", "٢٠٢٤-12-18", "must be a date or date-time"),
        ("UTC", "yesterday", "must be a date or date-time"),
    ],
)
def test_a_time_that_cannot_be_is_refused(zone: str, text: str, reason: str) -> None:
    """A leapt-over hour, a time between quarters and a text that is no time are refused with the reason."""
    with pytest.raises(ValueError, match=reason.replace("+", r"\+")):
        slot_at(text, ZoneInfo(zone))


@given(st.datetimes(), st.sampled_from(ZONES), st.sampled_from(["", "Z", "+14:00", "-12:00"]))
def test_any_time_of_any_year_gives_a_slot_or_a_reason(moment: datetime, zone: str, offset: str) -> None:
    """The first and the last years of the calendar are no exception."""
    with suppress(ValueError):
        assert abs(slot_at(moment.isoformat() + offset, ZoneInfo(zone))) < 10**9


def test_a_zone_is_found_by_its_name() -> None:
    """A known name gives the zone of that name."""
    assert ZoneInfo("Asia/Kathmandu") is find_zone("Asia/Kathmandu")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("europe/paris", "; did you mean Europe/Paris?"),
        ("Europe/Pariss", "; did you mean Europe/Paris?"),
        ("Paris", "; did you mean Europe/Paris?"),
        ("", ""),
        ("/etc/passwd", ""),
        ("../UTC", "; did you mean UTC?"),
        ("\x00" * 100_000, ""),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(name: str, hint: str) -> None:
    """What is no zone is refused, and never repeated."""
    with pytest.raises(ValueError, match="must be an IANA time zone") as refusal:
        find_zone(name)
    assert f"must be an IANA time zone such as Europe/Paris{hint}" == str(refusal.value)
