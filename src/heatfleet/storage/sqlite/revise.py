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
from heatfleet.storage.sqlite.columns import Ints, Moments, Readings, Row, moments, order_by
from heatfleet.storage.sqlite.figures import Known, known_devices
from heatfleet.storage.sqlite.fleet import NEVER, Fleet
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.integrate import Pieces, Sums, add, clipped, first_rows, held, pieces, segments, sums

FOREVER_MS = 1 << 62
PIECES_AT_ONCE = 4_000_000
"""A reading makes as many pieces as there are slots in the hold; this bounds the memory they take together."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A change of the figures by (slot, product), and the devices that stop and begin to be known there."""

    change: Sums
    gone: Known
    come: Known
    late: int

    def since(self, first_slot: int) -> "Revision":
        """The part of the change that lies in this slot and after it."""
        gone, come = (
            {key: devices for key, devices in known.items() if key[0] >= first_slot} for known in (self.gone, self.come)
        )
        return Revision(self.change.take(self.change.slot >= first_slot), gone, come, self.late)


@dataclass(frozen=True, slots=True)
class Span:
    """One device's whole slots that new readings touch: what it had said there, and how it stood at their start."""

    device: int
    start_ms: int
    end_ms: int
    context: Moments
    rows: list[Row]


class Reviser:
    """Reckons differences against what devices have said and the fleet's state, and moves that state on."""

    def __init__(self, fleet: Fleet, history: History, hold_ms: int) -> None:
        self._fleet = fleet
        self._history = history
        self._hold_ms = hold_ms

    def revise(self, new: Readings) -> tuple[Revision, Readings]:
        """The change that new readings (``Readings.as_set``) make, and the readings as they are to be kept."""
        late = self._is_late(new)
        in_order = new.take(~late)
        rows_max = PIECES_AT_ONCE // (self._hold_ms // SLOT_MS + 2)
        back, kept = self._look_back(new.take(late))
        parts = [*(self._go_on(part) for part in _in_parts(in_order, rows_max)), back]
        come = {
            key: np.concatenate([part.come[key] for part in parts if key in part.come])
            for key in set().union(*(part.come for part in parts))
        }
        return (
            Revision(add([part.change for part in parts]), back.gone, come, int(late.sum())),
            Readings.join([in_order, kept]),
        )

    def _is_late(self, new: Readings) -> npt.NDArray[np.bool_]:
        """Marks the readings of devices that do not simply go on."""
        if not len(new):
            return np.empty(0, np.bool_)
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

    def _go_on(self, new: Readings) -> Revision:
        before = self._fleet.newest(new.device[first_rows(new.device)])
        after = _sorted(Moments.join([before, moments(new, self._fleet.product_rank)]))
        parts = pieces(segments(after, self._hold_ms))
        change = add([sums(parts), sums(pieces(segments(before, self._hold_ms))).negated()])
        self._move_on(after, after.time_ms <= self._fleet.last_ms[after.device])
        return Revision(change, {}, known_devices(parts), 0)

    def _look_back(self, new: Readings) -> tuple[Revision, Readings]:
        if not len(new):
            return Revision(Sums.none(), {}, {}, 0), new
        spans = [self._span(part) for part in _by_device(new)]
        old = Readings.of_rows([row for span in spans for row in span.rows]).as_set(self._fleet.product_rank)
        merged = Readings.join([old, new]).as_set(self._fleet.product_rank)
        before, _ = self._within(spans, old)
        after, moments_after = self._within(spans, merged)
        change = add([sums(after), sums(before).negated()])

        # Only a span without an end reaches the device's newest word; the others leave the state as it is.
        open_ended = np.array([span.device for span in spans if span.end_ms == FOREVER_MS], np.int64)
        last_words = moments_after.take(np.isin(moments_after.device, open_ended))
        starts_ms = {span.device: span.start_ms for span in spans}
        bounds = np.array([starts_ms[device] for device in last_words.device.tolist()], np.int64)
        self._move_on(last_words, last_words.time_ms < bounds)
        np.minimum.at(self._fleet.first_ms, new.device, new.time_ms)

        return (
            Revision(change, known_devices(before), known_devices(after), len(new)),
            merged.take(np.isin(_keys(merged), _keys(new))),
        )

    def _within(self, spans: list[Span], readings: Readings) -> tuple[Pieces, Moments]:
        """The pieces inside the spans that these readings make, and the moments, contexts first, they come from."""
        said = moments(readings, self._fleet.product_rank)
        all_moments = _sorted(Moments.join([*(span.context for span in spans), said]))
        parts = segments(all_moments, self._hold_ms)
        place = np.searchsorted(np.array([span.device for span in spans]), parts.device)
        start_ms = np.array([span.start_ms for span in spans])[place]
        end_ms = np.array([span.end_ms for span in spans])[place]
        return pieces(clipped(parts, start_ms, end_ms)), all_moments

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
        return Span(device, start_ms, end_ms, self._context(device, start_ms), rows)

    def _context(self, device: int, at_ms: int) -> Moments:
        """How a device stood just before an instant: its last moment then, with the values that held; or nothing."""
        first_ms = int(self._fleet.first_ms[device])
        said = self._history.newest_before(device, at_ms, first_ms) if first_ms < at_ms else []
        moment = moments(Readings.of_rows(said).as_set(self._fleet.product_rank), self._fleet.product_rank)
        if not said:
            return moment
        power_w = self._held(device, at_ms, first_ms, POWER)
        temperature_c = self._held(device, at_ms, first_ms, TEMPERATURE)
        return Moments(moment.device, moment.time_ms, np.array([power_w]), np.array([temperature_c]), moment.product)

    def _held(self, device: int, at_ms: int, first_ms: int, code: int) -> float:
        fleet = self._fleet
        values, times_ms = (
            (fleet.power_w, fleet.power_ms) if code == POWER else (fleet.temperature_c, fleet.temperature_ms)
        )
        if times_ms[device] < at_ms:  # the newest ever told, so the newest before: no need to look it up
            return float(values[device])
        said = self._history.newest_before(device, at_ms, first_ms, code)
        return max((row[3] for row in said), default=float("nan"))

    def _move_on(self, after: Moments, is_context: npt.NDArray[np.bool_]) -> None:
        """Move the state on to the last of these moments of each device; contexts are in it already."""
        if not len(after):
            return
        fleet = self._fleet
        is_first = first_rows(after.device)
        starts = np.flatnonzero(is_first)
        last = np.r_[starts[1:], len(after)] - 1
        device = after.device[last]
        for values, value_column, time_column in (
            (after.power_w, fleet.power_w, fleet.power_ms),
            (after.temperature_c, fleet.temperature_c, fleet.temperature_ms),
        ):
            newest, source = held(values, is_first)
            told = ~np.isnan(newest[last]) & ~is_context[source[last]]
            value_column[device[told]] = newest[last][told]
            time_column[device[told]] = after.time_ms[source[last]][told]
        fleet.last_ms[device] = after.time_ms[last]
        fleet.product[device] = after.product[last]
        fleet.first_ms[device] = np.minimum(fleet.first_ms[device], after.time_ms[starts])


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
