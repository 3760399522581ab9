"""The definition of ``domain/energy.py`` over columns: millions of readings become exact sums by slot.

Tests hold it equal to the definition, digit by digit: the same products in the same order, each piece rounded alone,
sums of whole numbers.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from heatfleet.domain.slots import SLOT_MS
from heatfleet.storage.sqlite.columns import Columns, Floats, Ints, Moments, first_rows

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


def held(values: Floats, is_first: npt.NDArray[np.bool_]) -> Floats:
    """Each value, or where it is NaN the newest one before it of the same device, NaN where that never told one.

    ``is_first`` marks the first row of each device.
    """
    source = np.arange(len(values)) * (is_first | ~np.isnan(values))
    filled: Floats = values[np.maximum.accumulate(source)]
    return filled


def segments(moments: Moments, hold_ms: int) -> Segments:
    """Moments, sorted by device and time, as segments; the last of each device is held for the whole ``hold_ms``."""
    is_first = first_rows(moments.device)
    end_ms = moments.time_ms + hold_ms
    np.minimum(end_ms[:-1], moments.time_ms[1:], out=end_ms[:-1], where=~is_first[1:])
    return Segments(
        moments.device,
        moments.time_ms,
        end_ms,
        moments.product,
        held(moments.power_w, is_first),
        held(moments.temperature_c, is_first),
    )


def held_open(newest: Moments, hold_ms: int) -> Segments:
    """The newest word of each device as the segment that it opens, for the whole ``hold_ms``."""
    return Segments(newest.device, newest.time_ms, newest.time_ms + hold_ms, newest.product, newest.power_w,
                    newest.temperature_c)  # fmt: skip


def clipped(parts: Segments, start_ms: Ints | int, end_ms: Ints | int) -> Segments:
    """What lies within ``[start_ms, end_ms)``, one pair of bounds for each segment or for all; empty ones are gone."""
    start = np.maximum(parts.start_ms, start_ms)
    end = np.minimum(parts.end_ms, end_ms)
    return Segments(parts.device, start, end, parts.product, parts.power_w, parts.temperature_c).take(end > start)


def pieces(parts: Segments) -> Pieces:
    """Segments cut at the slot edges, in any order."""
    slot = parts.start_ms // SLOT_MS
    edge_ms = (slot + 1) * SLOT_MS
    longer = np.flatnonzero(parts.end_ms > edge_ms)
    # Most segments end in the slot in which they begin, and nothing of them is moved; the rest is cut to pieces.
    begun = _weighed(parts, slot, np.minimum(parts.end_ms, edge_ms) - parts.start_ms)
    if not len(longer):
        return begun
    rest = parts.take(longer)
    count = (rest.end_ms - 1) // SLOT_MS - slot[longer]
    rows = np.repeat(np.arange(len(rest)), count)
    slot = slot[longer][rows] + 1 + np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    rest = rest.take(rows)
    return Pieces.join([begun, _weighed(rest, slot, np.minimum(rest.end_ms - slot * SLOT_MS, SLOT_MS))])


def _weighed(parts: Segments, slot: Ints, length_ms: Ints) -> Pieces:
    """What segments add to a slot of each, of which they take so long."""
    return Pieces(
        parts.device,
        slot,
        parts.product,
        *_sum_of(parts.power_w, length_ms),
        *_sum_of(1000.0 * parts.temperature_c, length_ms),
    )


def _sum_of(values: Floats, length_ms: Ints) -> tuple[Ints, Ints]:
    total = values * length_ms
    total += 0.5
    np.floor(total, out=total)
    unknown = np.isnan(values)
    if not unknown.any():
        return total.astype(np.int64), length_ms
    total[unknown] = 0.0
    return total.astype(np.int64), length_ms * ~unknown


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
