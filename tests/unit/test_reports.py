"""Cells of a report: slots gathered into the quarters, hours and days of a local clock, and rounded once."""

from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.slots import SLOT_MS
from heatfleet.reports import Cells, Interval, Question, cells, divide_half_even
from tests.unit.hand_made_figures import WH_MJ, Row, figures, slot


def hourly(zone: str, first: str, end: str, interval: Interval = "hour") -> list[str]:
    """The cells of 1 Wh in every slot over ``[first, end)`` (UTC), each as its local name and its energy."""
    found = cells(figures(map(Row, range(slot(first), slot(end)))), Question(ZoneInfo(zone), interval))
    return [f"{name} {energy_wh}" for name, energy_wh in zip(names(found), found.energy_wh.tolist(), strict=True)]


def names(found: Cells) -> list[str]:
    """What the local clock shows where a cell begins, with the offset in hours where the hour is repeated."""
    return [
        f"{datetime.fromtimestamp(local_s, UTC):%d %H:%M}" + (f" {offset_s / 3600:+g}" if repeated else "")
        for local_s, offset_s, repeated in zip(
            found.local_s.tolist(), found.offset_s.tolist(), found.repeated.tolist(), strict=True
        )
    ]


def test_a_spring_day_has_23_hours() -> None:
    """Where clocks are set forward, the hour that they leap over is absent and nothing is lost."""
    found = hourly("Europe/Paris", "2026-03-28T23:00", "2026-03-29T22:00")
    assert len(found) == 23
    assert found[:3] == ["29 00:00 4", "29 01:00 4", "29 03:00 4"]


def test_an_autumn_day_has_25_hours() -> None:
    """Where clocks are set back, the repeated hour is two cells and each carries its offset."""
    found = hourly("Europe/Paris", "2026-10-24T22:00", "2026-10-25T23:00")
    assert len(found) == 25
    assert found[1:5] == ["25 01:00 4", "25 02:00 +2 4", "25 02:00 +1 4", "25 03:00 4"]


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        ("2026-10-25T00:00", "2026-10-25T01:00", ["25 02:00 +2 4"]),
        ("2026-10-25T01:00", "2026-10-25T02:00", ["25 02:00 +1 4"]),
        ("2026-10-25T02:00", "2026-10-25T03:00", ["25 03:00 4"]),
    ],
)
def test_the_zone_decides_which_hour_is_repeated(first: str, end: str, expected: list[str]) -> None:
    """A repeated hour carries its offset even where nothing is known of its other passage."""
    assert expected == hourly("Europe/Paris", first, end)


def test_hours_of_a_zone_off_by_quarters() -> None:
    """In Kathmandu (+05:45) an hour begins at a quarter past, and is whole."""
    assert hourly("Asia/Kathmandu", "2024-12-17T18:15", "2024-12-17T20:45") == [
        "18 00:00 4",
        "18 01:00 4",
        "18 02:00 2",
    ]


def test_summer_time_by_half_an_hour() -> None:
    """On Lord Howe half an hour is left out in spring, and comes twice in autumn."""
    spring = hourly("Australia/Lord_Howe", "2026-10-03T14:30", "2026-10-03T17:00")
    autumn = hourly("Australia/Lord_Howe", "2026-04-04T13:00", "2026-04-04T16:30")
    assert spring == ["04 01:00 4", "04 02:00 2", "04 03:00 4"]
    assert autumn == ["05 00:00 4", "05 01:00 +11 4", "05 01:00 +10.5 2", "05 02:00 4"]


def test_quarters_of_a_repeated_half_hour() -> None:
    """Every quarter of an hour that comes twice carries its offset, for the rule is by the hour."""
    found = hourly("Australia/Lord_Howe", "2026-04-04T14:30", "2026-04-04T15:45", "quarter")
    expected = ["05 01:30 +11 1", "05 01:45 +11 1", "05 01:30 +10.5 1", "05 01:45 +10.5 1", "05 02:00 1"]
    assert expected == found


def test_a_transition_inside_a_slot() -> None:
    """Until 2011 clocks in St. John's changed at 00:01: that quarter counts where it began."""
    autumn = hourly("America/St_Johns", "2007-11-04T01:30", "2007-11-04T04:30")
    assert autumn == ["03 23:00 -2.5 4", "04 00:00 -2.5 1", "03 23:00 -3.5 3", "04 00:00 -3.5 4"]
    spring = hourly("America/St_Johns", "2007-03-11T02:30", "2007-03-11T05:30")
    assert spring == ["10 23:00 4", "11 00:00 1", "11 01:00 3", "11 02:00 4"]


@pytest.mark.parametrize(
    ("zone", "first", "end", "expected"),
    [
        ("Europe/Paris", "2026-03-27T23:00", "2026-03-30T22:00", ["28 96", "29 92", "30 96"]),
        ("Europe/Paris", "2026-10-23T22:00", "2026-10-26T23:00", ["24 96", "25 100", "26 96"]),
        ("Australia/Lord_Howe", "2026-04-03T13:00", "2026-04-05T13:30", ["04 96", "05 98"]),
        ("Pacific/Apia", "2011-12-29T10:00", "2011-12-31T10:00", ["29 96", "31 96"]),
        # A clock that goes back over midnight: the day that has begun goes on.
        ("America/St_Johns", "2007-11-03T02:30", "2007-11-05T03:30", ["03 96", "04 100"]),
        ("Antarctica/Casey", "2010-03-03T13:00", "2010-03-05T16:00", ["04 96", "05 108"]),
    ],
)
def test_days(zone: str, first: str, end: str, expected: list[str]) -> None:
    """A local day is one cell, of 23, 24 or 25 hours or whatever the zone makes of it."""
    assert expected == [cell.replace(" 00:00", "") for cell in hourly(zone, first, end, "day")]


def test_an_unknown_hour_is_absent_and_a_known_zero_is_zero() -> None:
    """No known time is no cell, whatever rows there are; 0 W for a while is a cell of 0 Wh."""
    rows = [
        Row(0, energy_mj=0, known_ms=1),
        Row(4, energy_mj=0, known_ms=0, temperature_known_ms=0, devices=0, devices_hour=0),
        Row(8, energy_mj=0, known_ms=0, devices=0, devices_hour=0),
    ]
    found = cells(figures(rows), Question(ZoneInfo("UTC")))
    assert names(found) == ["01 00:00", "01 02:00"]
    assert found.energy_wh.tolist() == [0, 0]
    assert found.power_known.tolist() == [True, False]
    assert found.temperature_known.tolist() == [True, True]


@pytest.mark.parametrize("interval", ["quarter", "hour", "day"])
def test_nothing_known_is_no_cell(interval: Interval) -> None:
    """A store without figures gives a report without cells."""
    assert cells(figures([]), Question(ZoneInfo("Europe/Paris"), interval)).energy_wh.tolist() == []


def test_energy_is_rounded_once_after_all_sums_half_to_even() -> None:
    """Four quarters of 0.375 Wh are 1.5 Wh and so 2; each alone would be 0."""
    rows = [Row(index, energy_mj=WH_MJ * 3 // 8) for index in range(4)]
    assert cells(figures(rows), Question(ZoneInfo("UTC"))).energy_wh.tolist() == [2]
    assert cells(figures(rows), Question(ZoneInfo("UTC"), "quarter")).energy_wh.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("dividend", "divisor", "expected"),
    [
        (1_799_999, 3_600_000, 0),
        (1_800_000, 3_600_000, 0),
        (1_800_001, 3_600_000, 1),
        (5_400_000, 3_600_000, 2),
        (9_000_000, 3_600_000, 2),
        (-5, 10, 0),
        (-15, 10, -2),
        (-25, 10, -2),
        (-26, 10, -3),
        # Beyond the 53 bits of a float.
        (9_007_199_254_740_993 * 10 + 5, 10, 9_007_199_254_740_994),
        (9_007_199_254_740_992 * 10 + 5, 10, 9_007_199_254_740_992),
    ],
)
def test_half_to_even(dividend: int, divisor: int, expected: int) -> None:
    """A half goes to the even number, exactly, also below zero and beyond the digits of a float."""
    assert [expected] == divide_half_even(np.array([dividend]), divisor).tolist()


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**61))
def test_division_is_that_of_fractions(dividend: int, divisor: int) -> None:
    """The quotient is the rounding of the exact fraction."""
    assert [round(Fraction(dividend, divisor))] == divide_half_even(np.array([dividend]), divisor).tolist()


def test_temperature_is_the_mean_over_its_own_known_time() -> None:
    """Degree-seconds over known seconds, to two decimals, half to even, also below zero."""
    rows = [
        Row(0, temperature_mc_ms=20_125 * 1000, temperature_known_ms=1000),
        Row(4, temperature_mc_ms=-20_125 * 1000, temperature_known_ms=1000),
        Row(8, temperature_mc_ms=10_000 * 1000, temperature_known_ms=1000),
        Row(9, temperature_mc_ms=20_000 * 2000, temperature_known_ms=2000),
    ]
    assert cells(figures(rows), Question(ZoneInfo("UTC"))).temperature_cc.tolist() == [2012, -2012, 1667]


def test_sums_of_a_large_fleet_stay_exact() -> None:
    """A day of two million homes at 25 °C and 2 kW on average is counted without loss."""
    homes = 2_000_000
    rows = [
        Row(
            index,
            energy_mj=homes * 2000 * SLOT_MS,
            known_ms=homes * SLOT_MS,
            temperature_mc_ms=homes * 25_000 * SLOT_MS,
            temperature_known_ms=homes * SLOT_MS,
            devices_day=homes,
        )
        for index in range(96)
    ]
    found = cells(figures(rows), Question(ZoneInfo("UTC"), "day"))
    assert [homes * 48_000] == found.energy_wh.tolist()
    assert found.temperature_cc.tolist() == [2500]
    assert found.coverage_e4.tolist() == [10_000]


def test_devices_are_those_of_the_cell() -> None:
    """A quarter counts its own devices, an hour and a day those of the slots that end with its last."""
    rows = [Row(index, devices=1, devices_hour=2 + index, devices_day=20 + index) for index in range(8)]
    found = {
        interval: cells(figures(rows), Question(ZoneInfo("UTC"), interval)).devices.tolist()
        for interval in ("quarter", "hour", "day")
    }
    assert found == {"quarter": [1] * 8, "hour": [5, 9], "day": [27]}


def test_coverage_is_known_time_over_that_of_the_devices_of_the_day() -> None:
    """Of four devices heard that day two are known for the whole hour, then one for a quarter of an hour."""
    rows = [Row(index, known_ms=2 * SLOT_MS, devices_day=3 + index // 3) for index in range(4)]
    rows += [Row(4, devices_day=4), *(Row(index, 0, 0, 0, 0, 0, 1, 4) for index in range(5, 8))]
    by_quarter, by_hour, by_day = (
        cells(figures(rows), Question(ZoneInfo("UTC"), interval)).coverage_e4.tolist()
        for interval in ("quarter", "hour", "day")
    )
    assert by_quarter == [6667, 6667, 6667, 5000, 2500]
    assert by_hour == [5000, 625]
    assert by_day == [2812]  # 9 known quarters of 2 x 16: 0.28125, half to even


def test_a_row_of_zeros_tells_nothing() -> None:
    """Slots that are still to come may be present with zeros; devices and coverage are those of the slots before."""
    rows = [Row(2, devices_hour=2, devices_day=3), Row(3, 0, 0, 0, 0, 0, 0, 0)]
    for interval in ("hour", "day"):
        found = cells(figures(rows), Question(ZoneInfo("UTC"), interval))
        assert found.expected_ms.tolist() == [4 * SLOT_MS * 3]
        assert found.devices.tolist() == [2 if interval == "hour" else 3]


def test_the_range_cuts_cells() -> None:
    """An hour of which only a part is asked for is as long as that part, and its coverage is of that part."""
    first_slot, end_slot = slot("2024-12-18T00:30"), slot("2024-12-18T02:15")
    rows = map(Row, range(first_slot, end_slot))
    found = cells(figures(rows), Question(ZoneInfo("UTC"), "hour", first_slot, end_slot))
    assert names(found) == ["18 00:00", "18 01:00", "18 02:00"]
    assert (found.end_slot - found.first_slot).tolist() == [2, 4, 1]
    assert found.energy_wh.tolist() == [2, 4, 1]
    assert found.coverage_e4.tolist() == [10_000] * 3


def test_a_cell_is_final_when_it_had_ended_at_the_last_rollup() -> None:
    """The hour that the rollup lies in is not final, even if nothing is known at its end."""
    found = cells(figures([Row(0), Row(3), Row(4), Row(5)], as_of_ms=6 * SLOT_MS), Question(ZoneInfo("UTC")))
    assert found.final.tolist() == [True, False]
