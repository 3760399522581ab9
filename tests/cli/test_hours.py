"""The picture of a report, on a terminal of a known width."""

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from heatfleet.cli.hours import Metric, draw_days, draw_hours, read_days

Document = dict[str, dict[str, Any]]


def cell(energy_wh: float | None = None, **fields: Any) -> dict[str, Any]:
    """A cell of a detailed report in which all is known."""
    known = {"temperature_c": 19.0, "known_s": 3600.0, "coverage": 1.0, "devices": 1, "final": True}
    return {"energy_wh": energy_wh, **known, **fields}


def picture(document: Document, metric: Metric = "energy", width: int = 80) -> list[str]:
    """The lines of the picture, without what is blank at their ends."""
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    draw = draw_days if any("known_s" in times for times in document.values()) else draw_hours
    draw(console, read_days(document, metric), metric)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def bar_of(line: str) -> float:
    """The length of a bar in columns."""
    return sum(1.0 if char == "█" else ("▏▎▍▌▋▊▉".find(char) + 1) / 8 for char in line)


def test_bars_are_as_long_as_the_energy() -> None:
    """Twice the energy is twice the bar, from zero."""
    lines = picture({"2026-01-05": {"00:00": cell(1000), "01:00": cell(2000), "02:00": cell(0)}})
    one, two, none = lines[2:5]

    assert bar_of(two) == pytest.approx(2 * bar_of(one), abs=0.25)
    assert bar_of(none) == 0
    assert one.endswith(" 1.00")
    assert two.endswith(" 2.00")
    assert none.endswith(" 0.00")


def test_little_is_not_told_as_nothing() -> None:
    """Beside hours of a megawatt-hour, one of some watt-hours is less than a digit, and not zero."""
    lines = picture({"2026-01-05": {"00:00": cell(1_500_000), "01:00": cell(3), "02:00": cell(0)}})

    assert [line.split()[-1] for line in lines[2:5]] == ["1.50", "<0.01", "0.00"]


@pytest.mark.parametrize(("last", "name"), [("2026-01-06", "Mon  5 Jan"), ("2027-01-06", "Mon  5 Jan 2026")])
def test_year_is_told_where_there_are_several(last: str, name: str) -> None:
    """By hour and by day."""
    hours = picture({"2026-01-05": {"00:00": cell(1000)}, last: {"00:00": cell(1000)}})
    days = picture({"2026-01-05": cell(1000), last: cell(1000)})

    assert hours[0].split("   ")[2].strip() == name
    assert days[0].startswith(f"{name}  ")


def test_days_stand_side_by_side_with_their_totals() -> None:
    """The date and the energy of the day stand above its column."""
    lines = picture({"2026-01-05": {"00:00": cell(1000)}, "2026-01-06": {"00:00": cell(3000), "01:00": cell(1500)}})

    assert lines[0].split("  ")[0] == ""
    assert [part.strip() for part in lines[0].split("  ") if part.strip()] == ["Mon", "5 Jan", "Tue", "6 Jan"]
    assert [part.strip() for part in lines[1].split("  ") if part.strip()] == ["1.00 kWh", "4.50 kWh"]


def test_days_that_do_not_fit_stand_below_on_the_same_scale() -> None:
    """Equal energy has an equal bar wherever it stands."""
    document = {f"2026-01-{day:02}": {"00:00": cell(1000)} for day in range(5, 10)}
    bars = [bar_of(line) for line in picture(document, width=60) if "00:00" in line]

    assert len(bars) == 3
    assert bars[0] == bars[1] == 2 * bars[2]


def test_hour_nobody_knows_is_seen_as_a_hole() -> None:
    """An hour without any figure has its line, with a dot, between those that have one."""
    lines = picture({"2026-01-05": {"00:00": cell(1000), "03:00": cell(0)}})

    assert [line.split() for line in lines[3:5]] == [["01:00", "·"], ["02:00", "·"]]
    assert lines[5].split() == ["03:00", "0.00"]


def test_hour_that_comes_twice_has_two_lines() -> None:
    """The night the clock goes back has a second passage, marked and explained."""
    lines = picture({"2026-10-25": {"02:00+02:00": cell(1000), "02:00+01:00": cell(2000), "03:00": cell(1)}})

    assert [line.split()[0] for line in lines[2:5]] == ["02:00", "↻02:00", "03:00"]
    assert "↻  the hour that the clock shows twice" in lines


def test_quarters_of_the_hour_that_comes_twice_stay_together() -> None:
    """The first passage ends before the second begins."""
    times = [f"02:{minute:02}+0{offset}:00" for offset in (2, 1) for minute in (0, 15, 30, 45)]
    lines = picture({"2026-10-25": {time: cell(1000) for time in times}})

    assert [line.split()[0] for line in lines[2:10]] == [
        *("02:00", "02:15", "02:30", "02:45"),
        *("↻02:00", "↻02:15", "↻02:30", "↻02:45"),
    ]


def test_coverage_is_told_where_something_is_unknown() -> None:
    """Never rounded up to 100 %."""
    lines = picture({"2026-01-05": {"00:00": cell(1000), "01:00": cell(1000, coverage=0.9999)}})

    assert lines[2].endswith(" 1.00")
    assert lines[3].endswith(" 99%")
    assert any(line.startswith("%  ") for line in lines)


def test_open_hour_is_marked() -> None:
    """A figure that is still growing does not look like the others."""
    lines = picture({"2026-01-05": {"00:00": cell(1000), "01:00": cell(10, final=False, coverage=0.1)}})

    assert lines[3].endswith(" 0.01…")
    assert "…  not over yet" in lines
    assert not any("%" in line for line in lines)


@pytest.mark.parametrize(
    ("energy_wh", "text"),
    [
        (0, "0 Wh"),
        (7, "7 Wh"),
        (999, "999 Wh"),
        (1000, "1.00 kWh"),
        (45_678, "45.7 kWh"),
        (999_999, "1,000 kWh"),
        (1_000_000, "1.00 MWh"),
        (2_500_000_000, "2.50 GWh"),
        (9_876_543_210_000, "9,877 GWh"),
    ],
)
def test_unit_fits_the_size(energy_wh: int, text: str) -> None:
    """Three figures, in the unit that the greatest value asks for."""
    assert picture({"2026-01-05": {"00:00": cell(energy_wh)}})[1].strip() == text


def test_temperatures_are_marks_between_the_coldest_and_the_warmest() -> None:
    """A temperature has no honest zero for a bar to start from."""
    cells = {"00:00": cell(temperature_c=18.0), "01:00": cell(temperature_c=20.0), "02:00": cell(temperature_c=19.0)}
    lines = picture({"2026-01-05": cells}, "temperature")
    marks = [line.index("●") for line in lines[2:5]]

    assert lines[1].strip() == "18.0 to 20.0 °C"
    assert marks[2] == pytest.approx((marks[0] + marks[1]) / 2, abs=1)
    assert marks[0] < marks[1]


def test_report_by_day_has_a_line_a_day() -> None:
    """With its unit below."""
    lines = picture({"2026-01-05": cell(1000), "2026-01-06": cell(2000)})

    assert [line[:10] for line in lines[:2]] == ["Mon  5 Jan", "Tue  6 Jan"]
    assert bar_of(lines[1]) == pytest.approx(2 * bar_of(lines[0]), abs=0.25)
    assert "figures in kWh" in lines


cells = st.builds(
    cell,
    st.integers(0, 10**13),
    coverage=st.floats(0.0001, 1),
    final=st.booleans(),
    temperature_c=st.floats(-60, 100),
)
times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
dates = st.dates().map(str)


@settings(deadline=None, max_examples=30)
@given(
    st.dictionaries(dates, st.dictionaries(times, cells, min_size=1, max_size=8), min_size=1, max_size=10),
    st.sampled_from(["energy", "temperature"]),
    st.integers(40, 250),
)
def test_any_report_fits_the_terminal(document: Document, metric: Metric, width: int) -> None:
    """Whatever the figures and however narrow the window, no line is longer than it."""
    assert max(map(len, picture(document, metric, width))) <= width
