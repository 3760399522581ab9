"""How a report looks on the wire: JSON by day and time, CSV by instant, and its validator."""

import csv
import json
from io import StringIO
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from heatfleet.api.report_body import CSV_COLUMNS, csv_body, etag, json_body
from heatfleet.api.report_query import Metric
from heatfleet.domain.slots import SLOT_MS
from heatfleet.reports import Cells, Interval, Question, cells
from tests.unit.hand_made_figures import WH_MJ, Row, figures, slot


def gathered(*rows: Row, zone: str = "UTC", interval: Interval = "hour", as_of: int = 2**31) -> Cells:
    return cells(figures(rows, as_of * SLOT_MS), Question(ZoneInfo(zone), interval))


def document(found: Cells, interval: Interval = "hour", metric: Metric = "energy", *, detail: bool = False) -> Any:
    return json.loads(json_body(found, interval, metric, detail=detail))


def table(found: Cells) -> list[dict[str, str]]:
    return list(csv.DictReader(csv_body(found).decode().splitlines()))


def test_the_original_shape() -> None:
    """The report that the project began with, to the letter."""
    expected = {
        "2024-12-18": {"00:00": 24577, "01:00": 42304},
        "2024-12-19": {"00:00": 19876, "01:00": 38765},
    }
    rows = [
        Row(slot(f"{day}T{hour}"), energy_wh * WH_MJ)
        for day, hours in expected.items()
        for hour, energy_wh in hours.items()
    ]
    body = json_body(gathered(*rows), "hour", "energy", detail=False)
    assert json.dumps(expected, separators=(",", ":")) == body.decode()


@pytest.mark.parametrize("interval", ["quarter", "hour", "day"])
def test_nothing_known_is_an_empty_object(interval: Interval) -> None:
    """No data is no error."""
    assert json_body(gathered(interval=interval), interval, "energy", detail=False) == b"{}"


def test_intervals() -> None:
    """Quarters and hours are named by day and time, days by their date alone."""
    rows = [Row(slot("2024-12-18T22:45") + index) for index in range(9)]
    found = {
        interval: document(gathered(*rows, zone="Europe/Paris", interval=interval), interval)
        for interval in ("quarter", "hour", "day")
    }
    expected = {
        "quarter": {
            "2024-12-18": {"23:45": 1},
            "2024-12-19": {f"{hour:02}:{minute:02}": 1 for hour in (0, 1) for minute in (0, 15, 30, 45)},
        },
        "hour": {"2024-12-18": {"23:00": 1}, "2024-12-19": {"00:00": 4, "01:00": 4}},
        "day": {"2024-12-18": 1, "2024-12-19": 8},
    }
    assert expected == found


def test_both_keys_of_a_repeated_hour_carry_their_offset() -> None:
    """In autumn the hour that comes twice has two keys; every other key is plain."""
    rows = [Row(slot("2026-10-25T00:00") + index) for index in range(-4, 12)]
    expected = {"2026-10-25": {"01:00": 4, "02:00+02:00": 4, "02:00+01:00": 4, "03:00": 4}}
    assert expected == document(gathered(*rows, zone="Europe/Paris"))
    quarters = document(gathered(*rows[3:5], zone="Europe/Paris", interval="quarter"), "quarter")
    assert quarters == {"2026-10-25": {"01:45": 1, "02:00+02:00": 1}}


def test_a_day_that_a_clock_goes_back_to_is_one_key() -> None:
    """Where a clock goes back over midnight the hours of the day before go to their own date."""
    rows = [Row(slot("2007-11-04T01:30") + index) for index in range(12)]
    expected = {
        "2007-11-03": {"23:00-02:30": 4, "23:00-03:30": 3},
        "2007-11-04": {"00:00-02:30": 1, "00:00-03:30": 4},
    }
    assert expected == document(gathered(*rows, zone="America/St_Johns"))


def test_temperature() -> None:
    """Degrees have two decimals at most, and a cell is there when the temperature is known, power or not."""
    rows = [
        Row(0, temperature_mc_ms=20_125 * SLOT_MS),
        Row(4, energy_mj=0, known_ms=0, temperature_mc_ms=-500 * SLOT_MS),
        Row(8, temperature_mc_ms=0, temperature_known_ms=0),
    ]
    assert document(gathered(*rows), metric="temperature") == {"1970-01-01": {"00:00": 20.12, "01:00": -0.5}}
    assert document(gathered(*rows), metric="energy") == {"1970-01-01": {"00:00": 1, "02:00": 1}}


def test_detail() -> None:
    """With detail each cell tells all that is known of it, and null is unknown."""
    rows = [
        Row(0, known_ms=450_123, temperature_known_ms=0, temperature_mc_ms=0, devices_hour=3, devices_day=4),
        Row(4, energy_mj=0, known_ms=0, devices_hour=0, devices_day=4),
    ]
    powered = {
        "energy_wh": 1,
        "temperature_c": None,
        "known_s": 450.123,
        "coverage": 0.0313,
        "devices": 3,
        "final": True,
    }
    warm = {
        "energy_wh": None,
        "temperature_c": 20.0,
        "known_s": 0.0,
        "coverage": 0.0,
        "devices": 0,
        "final": False,
    }
    found = gathered(*rows, as_of=5)
    assert {"1970-01-01": {"00:00": powered}} == document(found, detail=True)
    assert {"1970-01-01": {"01:00": warm}} == document(found, metric="temperature", detail=True)
    day = document(gathered(*rows, interval="day", as_of=5), "day", detail=True)
    assert day["1970-01-01"]["temperature_c"] == 20.0


def test_csv() -> None:
    """A line tells its instant, local time, offset and length, and leaves empty what is unknown."""
    rows = [
        Row(slot("2026-10-25T00:45"), temperature_known_ms=0, temperature_mc_ms=0),
        Row(slot("2026-10-25T01:00"), energy_mj=0, known_ms=0, devices_hour=0),
    ]
    expected = (
        f"{','.join(CSV_COLUMNS)}\r\n"
        "2026-10-25T00:00:00Z,2026-10-25T02:00:00,+02:00,3600,1,,900.0,0.25,1,true\r\n"
        "2026-10-25T01:00:00Z,2026-10-25T02:00:00,+01:00,3600,,20.0,0.0,0.0,0,true\r\n"
    )
    assert expected == csv_body(gathered(*rows, zone="Europe/Paris")).decode()


def test_a_long_csv_is_whole() -> None:
    """Its lines follow each other without a gap, and are what the csv module would write."""
    first = slot("2024-01-01")
    found = gathered(*(Row(first + index, devices_day=index % 7 + 1) for index in range(2500)), interval="quarter")
    lines = table(found)
    assert len(lines) == 2500
    assert all(earlier["start_utc"] < later["start_utc"] for earlier, later in pairwise(lines))
    assert {line["duration_s"] for line in lines} == {"900"}
    written = StringIO(newline="")
    csv.writer(written).writerows([CSV_COLUMNS, *(line.values() for line in lines)])
    assert csv_body(found).decode() == written.getvalue()


def test_csv_of_days_of_unequal_length() -> None:
    """A day of 23 or 25 hours is as long as it is, and begins under the offset of its morning."""
    first, end = slot("2026-03-28T23:00"), slot("2026-03-30T22:00")
    lines = table(gathered(*map(Row, range(first, end)), zone="Europe/Paris", interval="day"))
    assert [line["duration_s"] for line in lines] == ["82800", "86400"]
    assert [line["utc_offset"] for line in lines] == ["+01:00", "+02:00"]
    assert [line["start_local"] for line in lines] == ["2026-03-29T00:00:00", "2026-03-30T00:00:00"]


def test_the_validator_changes_with_cells_and_shape_only() -> None:
    """Equal cells in an equal shape have one validator; any other figure, finality or shape another."""
    found = gathered(Row(0), Row(4))
    assert etag(found, "json", "hour") == etag(gathered(Row(0), Row(4), as_of=99), "json", "hour")
    others = [
        etag(found, "csv", "hour"),
        etag(gathered(Row(0), Row(4, energy_mj=0)), "json", "hour"),
        etag(gathered(Row(0), Row(4), as_of=7), "json", "hour"),
        etag(gathered(Row(0), Row(4), zone="Europe/Paris"), "json", "hour"),
        etag(gathered(), "json", "hour"),
    ]
    assert len({etag(found, "json", "hour"), *others}) == 6
