"""How a reading stands in the table of its hour: under one whole number of its device, time and code."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from heatfleet.domain.slots import HOUR_MS
from heatfleet.storage.sqlite.columns import Columns, Floats, Ints, Readings, Row, order_by

DEVICE_SHIFT = 23
_TIME_MASK = (1 << DEVICE_SHIFT - 1) - 1


def rows_of(hour: int, found: Iterable[tuple[int, float, int]]) -> list[Row]:
    """Readings of an hour (since 1970) from what its table has: key, value, product."""
    start_ms = hour * HOUR_MS
    return [(k >> DEVICE_SHIFT, start_ms + (k >> 1 & _TIME_MASK), k & 1, v, p) for k, v, p in found]


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """Readings as the tables have them, in order of hour and key."""

    hour: Ints
    key: Ints
    value: Floats
    product: Ints

    @classmethod
    def of(cls, readings: Readings) -> Self:
        """From readings that are sorted by device, time and code."""
        hour = readings.time_ms // HOUR_MS
        key = readings.device << DEVICE_SHIFT | (readings.time_ms - hour * HOUR_MS) << 1 | readings.code
        rows = cls(hour, key, readings.value, readings.product)
        if (hour == hour[:1]).all():  # as most often; then they are in order already
            return rows
        return rows.take(order_by(hour, key))


def spans(values: Ints) -> Iterator[tuple[int, int, int]]:
    """Where neighbours are equal: the value, its first place, and the place after its last."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
    for first, end in pairwise(edges.tolist()):
        yield int(values[first]), first, end
