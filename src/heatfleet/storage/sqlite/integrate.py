"""The definition of ``domain/energy.py`` over columns: millions of readings become exact sums by slot.

Tests hold it equal to the definition, digit by digit: the same products in the same order, each piece rounded alone,
sums of whole numbers.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from heatfleet.domain.slots import SLOT_MS
from heatfleet.storage.sqlite.columns import Columns, Floats, Ints, Moments

DENSE_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Segments(Columns):
    """Stretches ``[start_ms, end_ms)`` over which a device's values hold; NaN is unknown."""

    device: Ints
    start_ms: Ints
    end_ms: Ints
    product: Ints
    power_w: Floats
    temperature_c: Floats


@dataclass(frozen=True, slots=True)
class Pieces(Columns):
    """Segments cut at the slot edges, with the four exact sums each piece adds."""

    device: Ints
    slot: Ints
    product: Ints
    energy_mj: Ints
    known_ms: Ints
    temperature_mc_ms: Ints
    temperature_known_ms: Ints


@dataclass(frozen=True, slots=True)
class Sums(Columns):
    """Sums by (slot, product), each pair once."""

    slot: Ints
    product: Ints
    energy_mj: Ints
    known_ms: Ints
    temperature_mc_ms: Ints
    temperature_known_ms: Ints

    @classmethod
    def none(cls) -> "Sums":
        """No sums."""
        nothing = np.empty(0, np.int64)
        return cls(nothing, nothing, nothing, nothing, nothing, nothing)

    def negated(self) -> "Sums":
        """The same with all sums taken away instead of added."""
        return Sums(self.slot, self.product, -self.energy_mj, -self.known_ms, -self.temperature_mc_ms,
                    -self.temperature_known_ms)  # fmt: skip


def held(values: Floats, is_first: npt.NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """Each value, or where it is NaN the newest one before it of the same device; and the row it comes from.

    ``is_first`` marks the first row of each device. A row without any value yet has NaN and itself as its source.
    """
    rows = np.arange(len(values))
    device_start = np.maximum.accumulate(np.where(is_first, rows, 0))
    source = np.maximum.accumulate(np.where(np.isnan(values), 0, rows))
    source = np.where(source < device_start, rows, source)
    return values[source], source


def first_rows(device: Ints) -> npt.NDArray[np.bool_]:
    """Marks the first row of each run of equal devices."""
    first: npt.NDArray[np.bool_] = np.r_[True, np.diff(device) != 0][: len(device)]
    return first


def segments(moments: Moments, hold_ms: int) -> Segments:
    """Moments, sorted by device and time, as segments; the last of each device is held for the whole ``hold_ms``."""
    is_first = first_rows(moments.device)
    power_w, _ = held(moments.power_w, is_first)
    temperature_c, _ = held(moments.temperature_c, is_first)
    end_ms = moments.time_ms + hold_ms
    if len(moments):
        following = np.r_[moments.time_ms[1:], 0]
        has_following = np.r_[~is_first[1:], False]
        end_ms = np.where(has_following, np.minimum(end_ms, following), end_ms)
    return Segments(moments.device, moments.time_ms, end_ms, moments.product, power_w, temperature_c)


def clipped(parts: Segments, start_ms: Ints | int, end_ms: Ints | int) -> Segments:
    """What lies within ``[start_ms, end_ms)``, one pair of bounds for each segment or for all; empty ones are gone."""
    start = np.maximum(parts.start_ms, start_ms)
    end = np.minimum(parts.end_ms, end_ms)
    return Segments(parts.device, start, end, parts.product, parts.power_w, parts.temperature_c).take(end > start)


def pieces(parts: Segments) -> Pieces:
    """Segments cut at the slot edges."""
    first_slot = parts.start_ms // SLOT_MS
    count = (parts.end_ms - 1) // SLOT_MS - first_slot + 1
    rows = np.repeat(np.arange(len(parts)), count)
    slot = first_slot[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    length_ms = np.minimum(parts.end_ms[rows], (slot + 1) * SLOT_MS) - np.maximum(parts.start_ms[rows], slot * SLOT_MS)
    energy_mj, known_ms = _sum_of(parts.power_w[rows], length_ms)
    temperature_mc_ms, temperature_known_ms = _sum_of(1000.0 * parts.temperature_c[rows], length_ms)
    return Pieces(
        parts.device[rows],
        slot,
        parts.product[rows],
        energy_mj,
        known_ms,
        temperature_mc_ms,
        temperature_known_ms,
    )


def _sum_of(values: Floats, length_ms: Ints) -> tuple[Ints, Ints]:
    known = ~np.isnan(values)
    sums = np.floor(np.where(known, values, 0.0) * length_ms + 0.5).astype(np.int64)
    return sums, np.where(known, length_ms, 0)


def sums(parts: Pieces) -> Sums:
    """Pieces added up by (slot, product), in whole numbers; some may be pairs without a piece, and zero."""
    if not len(parts):
        return Sums.none()
    width = int(parts.product.max()) + 1
    first_slot = int(parts.slot.min())
    group = (parts.slot - first_slot) * width + parts.product
    size = (int(parts.slot.max()) - first_slot + 1) * width
    if size <= DENSE_MAX:
        keys = np.arange(size)
    else:  # slots far apart: number only those that are there
        keys, group = np.unique(group, return_inverse=True)
    return Sums(
        first_slot + keys // width,
        keys % width,
        *(
            _added(column, group, len(keys))
            for column in (parts.energy_mj, parts.known_ms, parts.temperature_mc_ms, parts.temperature_known_ms)
        ),
    )


def to_come(newest: Moments, hold_ms: int, now_ms: int) -> Sums:
    """What devices' newest values will add after now if none of them speaks again: whole pieces less what is past.

    The same as pieces of segments, but slot by slot over all devices: this is done every minute for the whole fleet.
    """
    if not len(newest):
        return Sums.none()
    end_ms = newest.time_ms + hold_ms
    first_slot = np.maximum(newest.time_ms, now_ms) // SLOT_MS
    parts = []
    for later in range(hold_ms // SLOT_MS + 2):
        slot = first_slot + later
        start = np.maximum(newest.time_ms, slot * SLOT_MS)
        stop = np.minimum(end_ms, (slot + 1) * SLOT_MS)
        columns = _sums_over(newest, np.maximum(stop - start, 0))
        if later == 0:
            past = _sums_over(newest, np.maximum(np.minimum(stop, now_ms) - start, 0))
            columns = [whole - over for whole, over in zip(columns, past, strict=True)]
        parts.append(sums(Pieces(newest.device, slot, newest.product, *columns)))
    return add(parts)


def _sums_over(values: Moments, length_ms: Ints) -> list[Ints]:
    return [*_sum_of(values.power_w, length_ms), *_sum_of(1000.0 * values.temperature_c, length_ms)]


def add(parts: list[Sums]) -> Sums:
    """Several sums as one, without the rows that come to nothing."""
    joined = Sums.join(parts)
    total = sums(Pieces(np.zeros(len(joined), np.int64), *(getattr(joined, field.name) for field in fields(joined))))
    something = (
        (total.energy_mj != 0) | (total.known_ms != 0) | (total.temperature_mc_ms != 0)
        | (total.temperature_known_ms != 0)
    )  # fmt: skip
    return total.take(something)


def _added(column: Ints, group: Ints, groups: int) -> Ints:
    total = np.zeros(groups, np.int64)
    np.add.at(total, group, column)  # np.bincount would add in floats and lose digits
    return total
