"""One device's figures, reckoned when asked for from its own readings: a day is some 500 of them."""

from dataclasses import dataclass

import numpy as np

from heatfleet.domain.slots import SLOT_MS, SLOTS_PER_DAY, SLOTS_PER_HOUR
from heatfleet.storage.base import Column, Figures
from heatfleet.storage.sqlite.columns import Readings, Row, moments, ranks_by_name
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.integrate import clipped, pieces, segments, sums


@dataclass(frozen=True, slots=True)
class Life:
    """When a device spoke first and last, and when it last told power and temperature; ``None`` is never."""

    device: int
    first_ms: int
    last_ms: int
    power_ms: int | None
    temperature_ms: int | None


def reckon_device(
    history: History,
    life: Life,
    *,
    slots: tuple[int, int],
    product: int | None,
    product_names: dict[int, str],
    hold_ms: int,
    as_of_ms: int,
) -> Figures:
    """Figures over the slots ``[first, end)``; with ``product`` only the segments that count for it."""
    first_slot, end_slot = slots
    # Whether the device was known in the day before each slot is part of the figures (coverage).
    start_ms = (first_slot - SLOTS_PER_DAY + 1) * SLOT_MS
    end_ms = end_slot * SLOT_MS
    readings = Readings.of_rows(_rows(history, life, start_ms, end_ms))
    # A rollup may place a reading of a new product while we look; it counts the next time.
    readings = readings.take(np.isin(readings.product, list(product_names)))
    rank = ranks_by_name(product_names)
    held = segments(moments(readings.as_set(rank), rank), hold_ms)
    known = pieces(clipped(held, start_ms, min(end_ms, as_of_ms)))
    if product is not None:
        known = known.take(known.product == product)
    total = sums(type(known)(known.device, known.slot, np.zeros_like(known.product), known.energy_mj, known.known_ms,
                             known.temperature_mc_ms, known.temperature_known_ms))  # fmt: skip
    heard = np.zeros(max(0, end_slot - first_slot) + SLOTS_PER_DAY - 1, np.int64)
    heard[total.slot[total.known_ms > 0] - (first_slot - SLOTS_PER_DAY + 1)] = 1
    hour, day = _within_last(heard, SLOTS_PER_HOUR), _within_last(heard, SLOTS_PER_DAY)
    columns = np.zeros((8, len(heard)), np.int64)
    columns[0] = np.arange(len(heard)) + first_slot - SLOTS_PER_DAY + 1
    at = total.slot - (first_slot - SLOTS_PER_DAY + 1)
    for row, column in enumerate(
        (total.energy_mj, total.known_ms, total.temperature_mc_ms, total.temperature_known_ms),
        start=1,
    ):
        columns[row, at] = column
    columns[5], columns[6], columns[7] = heard, hour, day
    asked = columns[:, SLOTS_PER_DAY - 1 :]
    return Figures.of_table(asked[:, (asked[7] > 0) | (asked[4] > 0)], as_of_ms)


def _within_last(heard: Column, slots: int) -> Column:
    """For each slot, 1 if any of the ``slots`` that end with it is 1."""
    count = np.cumsum(heard)
    before = np.r_[np.zeros(slots, np.int64), count][: len(count)]
    within: Column = np.minimum(count - before, 1)
    return within


def _rows(history: History, life: Life, start_ms: int, end_ms: int) -> list[Row]:
    """The readings in the range, and before them those that tell how the device stood at its start."""
    context: list[Row] = []
    for code, newest_ms in enumerate((life.power_ms, life.temperature_ms)):
        # A heater that is off all summer may not tell its power for months: do not search them, it is known.
        if newest_ms is not None:
            before_ms = min(start_ms, newest_ms + 1)
            context += history.newest_before(life.device, before_ms, life.first_ms, code)
    return context + list(history.of_device(life.device, start_ms, min(end_ms, life.last_ms + 1)))
