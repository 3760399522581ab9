"""A detailed report as a picture: days side by side, hours below each other, a bar in every cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import floor, log10
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

Metric = Literal["energy", "temperature"]
Row = tuple[int, int, int]
"""A time of the local clock: hour, 1 for its second passage on the day the clock goes back, minute."""

DAYS_DRAWN_MAX = 21
_WHOLE_DAY = (0, 0, 0)
_DAY_WIDTH_MAX = len("Fri 20 Nov 2026")
_LABEL_WIDTH, _COLUMN_MIN, _COLUMN_MAX, _COLUMNS_MAX = 6, 20, 60, 7
_EIGHTHS = "▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Cell:
    """One quarter, hour or day of a report; ``value`` in Wh or °C, ``coverage`` from 0 to 1."""

    value: float
    coverage: float
    final: bool


@dataclass(frozen=True, slots=True)
class Day:
    """The cells of one local day, in order of time."""

    day: date
    cells: Mapping[Row, Cell]

    def name(self, *, with_year: bool) -> str:
        """Such as ``Fri 20 Nov``, or ``Fri 20 Nov 2026``."""
        return f"{self.day:%a} {self.day.day:>2} {self.day:%b}{f' {self.day.year}' if with_year else ''}"


@dataclass(frozen=True, slots=True)
class Scale:
    """How a value becomes digits and a bar: one for a whole picture, so that everything in it compares."""

    metric: Metric
    unit: str
    divisor: float
    decimals: int
    low: float
    high: float

    def digits(self, value: float) -> str:
        """The value in the unit, without it; what is too small for its digits is not told as zero."""
        digits = f"{value / self.divisor:,.{self.decimals}f}"
        least = f"{10**-self.decimals:.{self.decimals}f}"
        return f"<{least}" if self.metric == "energy" and value and not digits.strip("0.") else digits

    def bar(self, value: float, width: int) -> Text:
        """Energy as a bar from zero; a temperature, which has no honest zero, as a mark between low and high."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else float(value > 0)
        if self.metric == "temperature":
            left = round(share * (width - 1))
            return Text.assemble(("·" * left, "dim"), ("●", "cyan"), ("·" * (width - 1 - left), "dim"))
        full, eighths = divmod(max(round(share * width * 8), 1 if value else 0), 8)
        return Text(("█" * full + _EIGHTHS[eighths - 1 : eighths]).ljust(width), "yellow")


def read_days(document: Mapping[str, Mapping[str, Any]], metric: Metric) -> list[Day]:
    """The days of ``GET /report?detail=true`` in order; a report by day has one cell in each."""
    days = []
    for name, times in document.items():
        cells: dict[Row, Cell] = {}
        for time, fields in [("00:00", times)] if "known_s" in times else times.items():
            hour, minute = int(time[:2]), int(time[3:5])
            again = int((hour, 0, minute) in cells)
            value = fields["energy_wh" if metric == "energy" else "temperature_c"]
            cells[hour, again, minute] = Cell(value, fields["coverage"], fields["final"])
        days.append(Day(date.fromisoformat(name), cells))
    return days


def draw_hours(console: Console, days: Sequence[Day], metric: Metric) -> None:
    """Draw the cells of the days, as many days side by side as fit, the next ones below."""
    room = console.width - _LABEL_WIDTH - 2
    per_band = max(1, min(_COLUMNS_MAX, len(days), room // (_COLUMN_MIN + 2)))
    pen = _Pen(days, metric, min(_COLUMN_MAX, room // per_band - 2))
    for start in range(0, len(days), per_band):
        band = days[start : start + per_band]
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_row("", *(Text(pen.name(day), "bold") for day in band))
        table.add_row("", *(Text(pen.summary(day), "dim") for day in band))
        for row in _rows(band):
            table.add_row(Text(_label(row), "dim"), *(pen.cell(day.cells.get(row)) for day in band))
        table.add_row()
        console.print(table)
    _explain(console, days, pen.unit)


def draw_days(console: Console, days: Sequence[Day], metric: Metric) -> None:
    """Draw a report by day: one line a day."""
    pen = _Pen(days, metric, min(_COLUMN_MAX, console.width - _DAY_WIDTH_MAX - 2))
    table = Table.grid(padding=(0, 2, 0, 0))
    for day in days:
        table.add_row(Text(pen.name(day), "dim"), pen.cell(day.cells[_WHOLE_DAY]))
    table.add_row()
    console.print(table)
    _explain(console, days, pen.unit)


class _Pen:
    """Draws every cell of a picture alike: bar, digits, and where needed how much was heard."""

    def __init__(self, days: Sequence[Day], metric: Metric, width: int) -> None:
        cells = _cells(days)
        self._width = width
        self._scale = _scale(cells, metric)
        self._digits = max(len(self._scale.digits(cell.value)) for cell in cells)
        coverage_width = 5 if any(map(_is_partial, cells)) else 0
        self._bar_width = max(1, width - self._digits - 2 - coverage_width)
        self._with_year = len({day.day.year for day in days}) > 1
        self.unit = self._scale.unit

    def name(self, day: Day) -> str:
        """The date of a day, with its year where the picture has several."""
        return day.name(with_year=self._with_year)

    def cell(self, cell: Cell | None) -> Text:
        """One cell; a dot where nothing is known."""
        text = Text("·", "dim") if cell is None else self._scale.bar(cell.value, self._bar_width)
        if cell is not None:
            text.append(f" {self._scale.digits(cell.value):>{self._digits}}", "default")
            text.append(" " if cell.final else "…", "dim")
            text.append(f"{floor(cell.coverage * 100):>4}%" if _is_partial(cell) else "", "magenta")
        text.truncate(self._width, pad=True)
        return text

    def summary(self, day: Day) -> str:
        """The energy of a day, or its coldest and warmest hour."""
        scale, values = self._scale, [cell.value for cell in day.cells.values()]
        if scale.metric == "energy":
            return f"{scale.digits(sum(values))} {scale.unit}"
        return f"{scale.digits(min(values))} to {scale.digits(max(values))} {scale.unit}"


def _cells(days: Iterable[Day]) -> list[Cell]:
    return [cell for day in days for cell in day.cells.values()]


def _scale(cells: Iterable[Cell], metric: Metric) -> Scale:
    values = [cell.value for cell in cells]
    high = max(values)
    if metric == "temperature":
        return Scale(metric, "°C", 1, 1, min(values), high)
    units = ((1e9, "GWh"), (1e6, "MWh"), (1e3, "kWh"), (1.0, "Wh"))
    divisor, unit = next((found for found in units if high >= found[0]), units[-1])
    figures = floor(log10(high / divisor)) + 1 if high else 1
    return Scale(metric, unit, divisor, 0 if divisor == 1 else max(0, 3 - figures), 0.0, high)


def _rows(days: Iterable[Day]) -> list[Row]:
    """The times of these days, and those between them that no day has: a hole shall be seen."""
    rows = {row for day in days for row in day.cells}
    step = 15 if any(minute for _, _, minute in rows) else 60
    first, last = (hour * 60 + minute for hour, _, minute in (min(rows), max(rows)))
    return sorted(rows | {(time // 60, 0, time % 60) for time in range(first, last, step)})


def _label(row: Row) -> str:
    hour, again, minute = row
    return f"{'↻' if again else ' '}{hour:02}:{minute:02}"


def _is_partial(cell: Cell) -> bool:
    """Whether to say how much is known. Of a cell that is not over it would mostly tell the time."""
    return cell.final and cell.coverage < 1


def _explain(console: Console, days: Sequence[Day], unit: str) -> None:
    for note in _notes(days, unit):
        console.print(note, style="dim")


def _notes(days: Sequence[Day], unit: str) -> Iterator[str]:
    cells = _cells(days)
    yield f"figures in {unit}"
    if any(map(_is_partial, cells)):
        yield "%  of the heaters' time is known, where not all of it is"
    if any(again for day in days for _, again, _ in day.cells):
        yield "↻  the hour that the clock shows twice"
    if not all(cell.final for cell in cells):
        yield "…  not over yet"
