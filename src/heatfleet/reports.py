"""What people read: figures by slot gathered into the quarters, hours or days of a local clock.

All sums are whole numbers and are rounded once, half to even, when a cell is shown. 64 bits hold the
temperature sum of a day for five million homes at 20 °C, and energy beyond that.
"""

from dataclasses import dataclass, fields
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from heatfleet.domain.local_time import offset_runs, repeated_hours
from heatfleet.domain.slots import SLOT_MS, SLOT_S
from heatfleet.storage.base import Column, Figures, Patience, Store

Interval = Literal["quarter", "hour", "day"]
Flags = npt.NDArray[np.bool_]

MJ_PER_WH = 3_600_000
_HOUR_S = 3600
_DAY_S = 86_400
_FAR = 2**40


@dataclass(frozen=True, slots=True)
class Question:
    """Which figures are wanted: of all devices or of some, over ``[first_slot, end_slot)``; None is open."""

    zone: ZoneInfo
    interval: Interval = "hour"
    first_slot: int | None = None
    end_slot: int | None = None
    device_id: str | None = None
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cells:
    """Quarters, hours or days of a local clock, as columns of equal length in order of time.

    A cell covers the slots ``[first_slot, end_slot)``: the quarter, hour or day itself, cut at the ends of
    the range asked for. ``local_s`` names it: what the clock shows when the uncut cell begins, as seconds
    since 1970 on that clock; ``offset_s`` is the clock's offset from UTC at ``first_slot``. ``repeated``
    marks cells in an hour that the clock shows twice. The sums are those of ``storage.base.Figures``.
    ``devices`` were known in the cell; ``expected_ms`` is the device-time it would know if none of the
    devices known in its day had fallen silent. ``final`` cells had ended at the last rollup; only late
    readings change them.
    """

    local_s: Column
    offset_s: Column
    repeated: Flags
    first_slot: Column
    end_slot: Column
    energy_mj: Column
    known_ms: Column
    temperature_mc_ms: Column
    temperature_known_ms: Column
    devices: Column
    expected_ms: Column
    final: Flags

    def where(self, wanted: Flags) -> "Cells":
        """The cells that are marked."""
        return Cells(**{column.name: getattr(self, column.name)[wanted] for column in fields(self)})

    @property
    def power_known(self) -> Flags:
        """Where ``energy_wh`` has a meaning: the power of some device was known."""
        return self.known_ms > 0

    @property
    def temperature_known(self) -> Flags:
        """Where ``temperature_cc`` has a meaning."""
        return self.temperature_known_ms > 0

    @property
    def energy_wh(self) -> Column:
        """Energy in whole Wh."""
        return divide_half_even(self.energy_mj, MJ_PER_WH)

    @property
    def temperature_cc(self) -> Column:
        """Mean temperature in hundredths of a degree Celsius."""
        return divide_half_even(self.temperature_mc_ms, 10 * np.maximum(self.temperature_known_ms, 1))

    @property
    def coverage_e4(self) -> Column:
        """The known part of the expected device-time, in ten-thousandths."""
        return divide_half_even(10_000 * self.known_ms, np.maximum(self.expected_ms, 1))


def answer(store: Store, question: Question, patience: Patience | None = None) -> Cells:
    """The cells in which power or temperature is known, in order; none for a device never heard of.

    Raises ``ReportTooSlow`` soon after the ``patience`` is over.
    """
    patience = patience or Patience()
    first_slot, end_slot = question.first_slot, question.end_slot
    if question.device_id is None:
        figures = store.figures(first_slot, end_slot, question.product_id, patience)
    else:
        figures = store.device_figures(question.device_id, first_slot, end_slot, question.product_id, patience)
    patience.check()
    return cells(figures, question)


def cells(figures: Figures, question: Question) -> Cells:
    """The figures of a range as the cells of the question's interval and zone; see ``answer``."""
    figures = _counted(figures)
    clock = _Clock(question, figures)
    match question.interval:
        case "quarter":
            gathered = _by_clock(figures, clock, SLOT_S, figures.devices)
        case "hour":
            gathered = _by_clock(figures, clock, _HOUR_S, figures.devices_hour)
        case "day":
            gathered = _by_day(_by_clock(figures, clock, _HOUR_S, figures.devices_day), clock)
    return gathered.where(gathered.power_known | gathered.temperature_known)


def divide_half_even(dividend: Column, divisor: Column | int) -> Column:
    """The exact quotient by a divisor above 0, rounded to the nearest whole number, a half to the even."""
    floor, rest = np.divmod(dividend, divisor)
    beyond_half = 2 * rest - divisor
    up: Flags = (beyond_half > 0) | ((beyond_half == 0) & (floor % 2 == 1))
    return np.where(up, floor + 1, floor)


def _counted(figures: Figures) -> Figures:
    """Without the slots for which a store keeps a row of zeros, such as those that are still to come."""
    counted = (figures.devices_day > 0) | (figures.temperature_known_ms > 0)
    if counted.all():
        return figures
    columns = [getattr(figures, field.name)[counted] for field in fields(figures) if field.name != "as_of_ms"]
    return Figures.of_table(np.array(columns), figures.as_of_ms)


class _Clock:
    """The local clock over some figures, as columns with one row for each run of equal offset."""

    def __init__(self, question: Question, figures: Figures) -> None:
        slot = figures.slot
        runs = offset_runs(question.zone, int(slot[0]), int(slot[-1]) + 1) if slot.size else []
        self.first_slot = np.array([run.first_slot for run in runs], np.int64)
        self.end_slot = np.array([run.end_slot for run in runs], np.int64)
        self.offset_s = np.array([run.offset_s for run in runs], np.int64)
        self.repeated_hours = np.array(repeated_hours(runs), np.int64)
        self.range_first = -_FAR if question.first_slot is None else question.first_slot
        self.range_end = _FAR if question.end_slot is None else question.end_slot
        self.as_of_ms = figures.as_of_ms

    def run(self, slot: Column) -> Column:
        """The row of the run that each slot lies in."""
        return np.searchsorted(self.first_slot, slot, side="right") - 1

    def day(self, slot: Column, local_s: Column) -> Column:
        """The local day, since 1970, that each slot counts for.

        That is the date its clock shows, save where a clock goes back over midnight: a day once begun stays.
        """
        run_last_day = ((self.end_slot - 1) * SLOT_S + self.offset_s) // _DAY_S
        begun = np.maximum.accumulate(np.concatenate(([-_FAR], run_last_day[:-1])))
        return np.maximum(local_s // _DAY_S, begun[self.run(slot)])

    def day_first_slot(self, day: Column) -> Column:
        """The first slot whose clock shows that day, or a later one where the zone leaves the day out."""
        first_slot = np.full_like(day, _FAR)
        for run_first, run_end, offset_s in zip(self.first_slot, self.end_slot, self.offset_s, strict=True):
            here = np.maximum((day * _DAY_S - offset_s) // SLOT_S, run_first)
            first_slot = np.where(here < run_end, np.minimum(first_slot, here), first_slot)
        return first_slot


def _by_clock(figures: Figures, clock: _Clock, length_s: int, devices: Column) -> Cells:
    """Local quarters or hours; a cell ends where the offset changes."""
    run = clock.run(figures.slot)
    division = (figures.slot * SLOT_S + clock.offset_s[run]) // length_s
    starts = _starts(division, run)
    last = _lasts(starts, figures.slot)
    run, division = run[starts], division[starts]
    offset_s = clock.offset_s[run]
    first_slot = np.maximum((division * length_s - offset_s) // SLOT_S, clock.first_slot[run])
    end_slot = np.minimum(((division + 1) * length_s - offset_s) // SLOT_S, clock.end_slot[run])
    first_slot, end_slot = np.maximum(first_slot, clock.range_first), np.minimum(end_slot, clock.range_end)
    return Cells(
        local_s=division * length_s,
        offset_s=offset_s,
        repeated=np.isin(division * length_s // _HOUR_S, clock.repeated_hours),
        first_slot=first_slot,
        end_slot=end_slot,
        devices=devices[last],
        expected_ms=(end_slot - first_slot) * SLOT_MS * figures.devices_day[last],
        final=end_slot * SLOT_MS <= clock.as_of_ms,
        **_sums(figures, starts),
    )


def _by_day(hours: Cells, clock: _Clock) -> Cells:
    """Local days, gathered from their hours."""
    day = clock.day(hours.first_slot, hours.local_s)
    starts = _starts(day)
    last = _lasts(starts, day)
    day = day[starts]
    first_slot = np.maximum(clock.day_first_slot(day), clock.range_first)
    end_slot = np.minimum(clock.day_first_slot(day + 1), clock.range_end)
    return Cells(
        local_s=day * _DAY_S,
        offset_s=clock.offset_s[clock.run(first_slot)],
        repeated=np.zeros(day.size, np.bool_),
        first_slot=first_slot,
        end_slot=end_slot,
        devices=hours.devices[last],
        expected_ms=np.add.reduceat(hours.expected_ms, starts),
        final=end_slot * SLOT_MS <= clock.as_of_ms,
        **_sums(hours, starts),
    )


def _starts(*labels: Column) -> Column:
    """The rows at which any of the labels differs from the row before; the first row is one."""
    changes = np.ones(labels[0].size, np.bool_)
    changes[1:] = np.any([label[1:] != label[:-1] for label in labels], axis=0)
    return np.flatnonzero(changes)


def _lasts(starts: Column, rows: Column) -> Column:
    """The last row of each group of rows."""
    return np.append(starts, rows.size)[1:] - 1


def _sums(source: Figures | Cells, starts: Column) -> dict[str, Column]:
    summed = ("energy_mj", "known_ms", "temperature_mc_ms", "temperature_known_ms")
    return {name: np.add.reduceat(getattr(source, name), starts) for name in summed}
