"""What a set of new readings changes: the sums before it, the sums after it, and the difference.

Two ways, chosen for each device. Most devices only go on: every new reading is later than all they said before, so the
difference starts at their newest word. A reading that comes late, repeats or names another product makes us look up
what the device said around it; then whole slots are reckoned, without and with the new readings, up to the moment from
which the new ones no longer matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from heatfleet.domain.messages import POWER, TEMPERATURE, TIME_MIN_MS
from heatfleet.domain.slots import SLOT_MS, slot_of
from heatfleet.storage.sqlite.columns import Ints, Moments, Readings, Row, first_rows, moments, order_by
from heatfleet.storage.sqlite.fleet import NEVER, Fleet
from heatfleet.storage.sqlite.heard import Heard, first_untold, known_devices
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.integrate import Segments, Sums, add, clipped, held_open, pieces, segments, sums

FOREVER_MS = 1 << 62
ROWS_AT_ONCE = 65_536
"""Columns of so many rows stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A change of the figures by (slot, product), and how many readings came late.

    ``outdone``: those of which a greater value or product was known, as that has it: they are to be kept so.
    """

    change: Sums
    outdone: Readings
    late: int


Context = tuple[int, int, float, float, int]
"""One moment: device, time_ms, power_w, temperature_c, product; NaN for what was never told."""


@dataclass(frozen=True, slots=True)
class Span:
    """One device's whole slots that new readings touch: what it had said there, and how it stood at their start.

    ``counted_ms``: the figures to be changed begin here; before the start where the context is an open word.
    """

    device: int
    counted_ms: int
    start_ms: int
    end_ms: int
    context: Context | None
    rows: list[Row]


class Reviser:
    """Reckons differences against what devices have said and the fleet's state, and moves that state on.

    What a device's newest word adds is no part of the differences as long as it is *open*: still believed when the
    figures were last brought up to date. That is reckoned for the whole fleet at once, when time goes on.
    """

    def __init__(
        self, fleet: Fleet, history: History, heard: Heard, *, hold_ms: int, as_of_ms: int, open_ms: int
    ) -> None:
        """``as_of_ms``: up to where the maps tell of open words; ``open_ms``: words that hold beyond it are open."""
        self._fleet = fleet
        self._history = history
        self._heard = heard
        self._hold_ms = hold_ms
        self._told_until_ms = first_untold(as_of_ms) * SLOT_MS
        self._open_ms = open_ms

    def revise(self, new: Readings) -> Revision:
        """The change that readings make; ``new`` as ``Readings.as_set``."""
        changes: list[Sums] = [Sums.none()]
        late_ones = [Readings.empty()]
        for some in _in_parts(new, ROWS_AT_ONCE):
            is_late = self._is_late(some)
            changes.append(self._go_on(some.take(~is_late)))
            late_ones.append(some.take(is_late))
        late = Readings.join(late_ones)
        outdone = late
        if len(late):
            change, outdone = self._look_back(late)
            changes.append(change)
        return Revision(add(changes), outdone, len(late))

    def _is_late(self, new: Readings) -> npt.NDArray[np.bool_]:
        """Marks the readings of devices that do not simply go on."""
        first = first_rows(new.device)
        index = np.cumsum(first) - 1
        starts = np.flatnonzero(first)
        device = new.device[starts]
        last_ms = self._fleet.last_ms[device]
        usual = np.where(last_ms == NEVER, new.product[starts], self._fleet.product[device])
        late = new.time_ms[starts] <= last_ms
        late |= np.logical_or.reduceat(new.product != usual[index], starts)
        marks: npt.NDArray[np.bool_] = late[index]
        return marks

    def _go_on(self, new: Readings) -> Sums:
        if not len(new):
            return Sums.none()
        said = moments(new, self._fleet.product_rank)
        first = np.flatnonzero(first_rows(said.device))
        before = self._fleet.newest(said.device[first])
        # Of each device that ever spoke, the newest word before stands ahead of its first new one: no need to sort.
        first = first[self._fleet.last_ms[said.device[first]] != NEVER]
        rows = np.insert(np.arange(len(said)) + len(before), first, np.arange(len(before)))
        after = Moments.join([before, said]).take(rows)
        is_known = rows < len(before)
        parts = segments(after, self._hold_ms)
        is_open = self._is_open(parts)
        closed = pieces(parts.take(~is_open))
        self._heard.put(known_devices(closed))
        self._heard.put(known_devices(pieces(clipped(parts.take(is_open), NEVER, self._told_until_ms))))
        self._fleet.move_on(after, is_known)
        counted = held_open(before, self._hold_ms)
        counted = counted.take(counted.end_ms <= self._open_ms)
        return add([sums(closed), sums(pieces(counted)).negated()])

    def _is_open(self, parts: Segments) -> npt.NDArray[np.bool_]:
        """Marks the newest words, last of each device, that are still believed."""
        is_last = np.r_[first_rows(parts.device)[1:], True][: len(parts)]
        marks: npt.NDArray[np.bool_] = is_last & (parts.end_ms > self._open_ms)
        return marks

    def _look_back(self, new: Readings) -> tuple[Sums, Readings]:
        """The change that late readings make, and those that are outdone."""
        spans = [self._span(part) for part in _by_device(new)]
        old = Readings.of_rows([row for span in spans for row in span.rows]).as_set(self._fleet.product_rank)
        merged = Readings.join([old, new]).as_set(self._fleet.product_rank)
        before, was_open, _ = self._within(spans, old)
        after, is_open, moments_after = self._within(spans, merged)
        self._heard.take_out(known_devices(pieces(Segments.join([before, was_open]))))
        self._heard.put(known_devices(pieces(Segments.join([after, clipped(is_open, NEVER, self._told_until_ms)]))))
        change = add([sums(pieces(after)), sums(pieces(before)).negated()])

        # Only a span without an end reaches the device's newest word; the others leave the state as it is.
        open_ended = np.array([span.device for span in spans if span.end_ms == FOREVER_MS], np.int64)
        last_words = moments_after.take(np.isin(moments_after.device, open_ended))
        starts_ms = {span.device: span.start_ms for span in spans}
        bounds = np.array([starts_ms[device] for device in last_words.device.tolist()], np.int64)
        self._fleet.move_on(last_words, last_words.time_ms < bounds)
        self._fleet.touch(new.device, new.time_ms)
        kept = merged.take(np.isin(_keys(merged), _keys(new)))
        return change, kept.take((kept.value != new.value) | (kept.product != new.product))

    def _within(self, spans: list[Span], readings: Readings) -> tuple[Segments, Segments, Moments]:
        """The segments inside the spans that these readings make, the open ones apart, and the moments behind them."""
        said = moments(readings, self._fleet.product_rank)
        contexts = _as_moments([span.context for span in spans if span.context is not None])
        all_moments = _sorted(Moments.join([contexts, said]))
        parts = segments(all_moments, self._hold_ms)
        place = np.searchsorted(np.array([span.device for span in spans]), parts.device)
        counted_ms = np.array([span.counted_ms for span in spans])[place]
        end_ms = np.array([span.end_ms for span in spans])[place]
        is_open = self._is_open(parts) & (end_ms == FOREVER_MS)
        closed = clipped(parts.take(~is_open), counted_ms[~is_open], end_ms[~is_open])
        return closed, parts.take(is_open), all_moments

    def _span(self, new: Readings) -> Span:
        device = int(new.device[0])
        start_ms = slot_of(int(new.time_ms[0])) * SLOT_MS
        last_ms = int(new.time_ms[-1])
        missing = set(new.code.tolist())
        end_ms = FOREVER_MS
        rows: list[Row] = []
        # Not beyond its newest word: in a rebuild there is more, whose turn is yet to come.
        until_ms = int(self._fleet.last_ms[device]) + 1
        for row in self._history.of_device(device, start_ms, until_ms):
            if row[1] >= end_ms:
                break
            rows.append(row)
            if row[1] > last_ms and missing:
                missing.discard(row[2])
                if not missing:
                    # From here on the device has said anew all that the new readings said: they stop to matter.
                    end_ms = (slot_of(row[1]) + 1) * SLOT_MS
        was_open = until_ms - 1 < start_ms and until_ms - 1 + self._hold_ms > self._open_ms
        return Span(
            device,
            min(start_ms, until_ms - 1) if was_open else start_ms,
            start_ms,
            end_ms,
            self._context(device, start_ms),
            rows,
        )

    def _context(self, device: int, at_ms: int) -> Context | None:
        """How a device stood just before an instant: its last moment then, with the values that held; or nothing."""
        first_ms = int(self._fleet.first_ms[device])
        said = self._history.newest_before(device, at_ms, first_ms) if first_ms < at_ms else []
        if not said:
            return None
        power_w = self._held(device, at_ms, first_ms, POWER)
        temperature_c = self._held(device, at_ms, first_ms, TEMPERATURE)
        product = max((row[4] for row in said), key=self._fleet.product_rank.__getitem__)
        return device, said[0][1], power_w, temperature_c, product

    def _held(self, device: int, at_ms: int, first_ms: int, code: int) -> float:
        fleet = self._fleet
        values, times_ms = (
            (fleet.power_w, fleet.power_ms) if code == POWER else (fleet.temperature_c, fleet.temperature_ms)
        )
        if times_ms[device] < at_ms:  # the newest ever told, so the newest before: no need to look it up
            return float(values[device])
        said = self._history.newest_before(device, at_ms, first_ms, code)
        return max((row[3] for row in said), default=float("nan"))


def _as_moments(contexts: list[Context]) -> Moments:
    device, time_ms, power_w, temperature_c, product = np.array(contexts, np.float64).reshape(-1, 5).T
    return Moments(device.astype(np.int64), time_ms.astype(np.int64), power_w, temperature_c, product.astype(np.int64))


def _sorted(said: Moments) -> Moments:
    return said.take(order_by(said.device, said.time_ms))


def _in_parts(readings: Readings, rows_max: int) -> Iterator[Readings]:
    """About so many rows at a time, a device's never apart."""
    edges = np.flatnonzero(np.r_[first_rows(readings.device), True])
    start = 0
    while start < len(readings):
        fitting = int(edges[np.searchsorted(edges, start + rows_max, "right") - 1])
        end = fitting if fitting > start else int(edges[np.searchsorted(edges, start, "right")])
        yield readings.take(slice(start, end))
        start = end


def _by_device(readings: Readings) -> Iterator[Readings]:
    edges = np.flatnonzero(np.r_[first_rows(readings.device), True])
    for start, end in pairwise(edges):
        yield readings.take(slice(start, end))


def _keys(readings: Readings) -> Ints:
    """One whole number for each identity (device, time, code); 22 bits are left for the device's place."""
    place = np.unique(readings.device, return_inverse=True)[1]
    return place << 42 | (readings.time_ms - TIME_MIN_MS) << 1 | readings.code
