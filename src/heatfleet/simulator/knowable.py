"""What can be known from the messages that arrive: the service's figures, worked out a second time.

It follows docs/explanation/numbers.md, sections 3 and 4, and shares no code with the service: the service's
figure must be this one, digit by digit. Where the service sorts a whole history, this walks forward with the
devices and keeps one open segment per device, so it needs little memory.
"""

import numpy as np
from numpy.typing import NDArray

from heatfleet.simulator.dice import Ints
from heatfleet.simulator.errors import SimulatorError
from heatfleet.simulator.truth import HOUR_MS
from heatfleet.simulator.wire import NOT_SAID, Messages

_READING = np.dtype([("device", np.int64), ("time_ms", np.int64), ("power_w", np.int64)])
_NEVER = -1
_UNKNOWN_W = -1


class Knowable:
    """The fleet's energy by UTC hour, in whole mJ, from the set of readings delivered so far."""

    def __init__(self, devices: int, hold_ms: int) -> None:
        self._hold_ms = hold_ms
        self._hours: dict[int, int] = {}
        self._last_ms: Ints = np.full(devices, _NEVER, dtype=np.int64)
        self._last_w: Ints = np.full(devices, _UNKNOWN_W, dtype=np.int64)
        self._waiting: list[NDArray[np.void]] = []
        self._settled_ms = 0

    def add(self, rows: Messages, clock: str = "time_ms") -> None:
        """Take messages that do arrive, in any order, once or often; ``clock`` names the column of time.

        A message without power or temperature is no reading: it does not even prove its device alive.
        """
        rows = rows[(rows["power_w"] != NOT_SAID) | (rows["tenths_c"] != NOT_SAID)]
        readings = np.empty(len(rows), dtype=_READING)
        readings["device"], readings["time_ms"], readings["power_w"] = (
            rows["device"],
            rows[clock],
            rows["power_w"],
        )
        self._waiting.append(readings)

    def settle(self, before_ms: int) -> None:
        """Count for good what was measured before this moment; nothing older may be added any more.

        Raises SimulatorError if something older was added after all: the accounting would be wrong.
        """
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        ripe = rows["time_ms"] < before_ms
        self._waiting = [rows[~ripe]]
        rows = rows[ripe]
        if len(rows) == 0:
            return
        if int(rows["time_ms"].min()) < self._settled_ms:
            raise SimulatorError("a reading came after its time was settled; the truth cannot be told any more")
        self._settled_ms = before_ms
        device, time_ms, power_w = self._moments(rows)
        self._count(self._hours, *self._segments(device, time_ms, power_w))

    def hours_mj(self, now_ms: int) -> dict[int, int]:
        """Energy in mJ by hour since the epoch, every segment cut at ``now_ms``.

        Changes nothing: may be asked at any time, for a moment that is not settled yet. An hour in which no
        power was known is absent.
        """
        if now_ms < self._settled_ms:
            raise SimulatorError("what was known at that moment has been settled since")
        hours = dict(self._hours)
        copy = Knowable(len(self._last_ms), self._hold_ms)
        copy._hours, copy._settled_ms = hours, self._settled_ms
        copy._last_ms, copy._last_w = self._last_ms.copy(), self._last_w.copy()
        copy._waiting = list(self._waiting)
        copy.settle(now_ms)
        known = copy._last_ms != _NEVER
        start_ms, power_w = copy._last_ms[known], copy._last_w[known]
        self._count(hours, start_ms, np.minimum(start_ms + self._hold_ms, now_ms), power_w)
        return hours

    def _moments(self, rows: NDArray[np.void]) -> tuple[Ints, Ints, Ints]:
        """One row per device and time, in that order: of several powers the greatest, -1 if none was said."""
        order = np.lexsort((rows["time_ms"], rows["device"]))
        device, time_ms = rows["device"][order], rows["time_ms"][order]
        power_w = np.maximum(rows["power_w"][order], _UNKNOWN_W)
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (device[1:] != device[:-1]) | (time_ms[1:] != time_ms[:-1])
        return device[first], time_ms[first], np.maximum.reduceat(power_w, np.flatnonzero(first))

    def _segments(self, device: Ints, time_ms: Ints, power_w: Ints) -> tuple[Ints, Ints, Ints]:
        """(start, end, power) of the segments that these moments close; each device's last one stays open."""
        opens = np.ones(len(device), dtype=np.bool_)
        opens[1:] = device[1:] != device[:-1]
        silent = opens & (power_w == _UNKNOWN_W)
        power_w[silent] = self._last_w[device[silent]]
        told = np.where(opens | (power_w != _UNKNOWN_W), np.arange(len(device)), 0)
        power_w = power_w[np.maximum.accumulate(told)]

        start_ms, held_w = np.roll(time_ms, 1), np.roll(power_w, 1)
        start_ms[opens], held_w[opens] = self._last_ms[device[opens]], self._last_w[device[opens]]
        closes = np.roll(opens, -1)
        self._last_ms[device[closes]], self._last_w[device[closes]] = time_ms[closes], power_w[closes]
        begun = start_ms != _NEVER
        end_ms = np.minimum(time_ms, start_ms + self._hold_ms)
        return start_ms[begun], end_ms[begun], held_w[begun]

    def _count(self, hours: dict[int, int], start_ms: Ints, end_ms: Ints, power_w: Ints) -> None:
        """Add segments to the hours they lie in. W x ms are mJ, so whole watts need no rounding."""
        known = (power_w != _UNKNOWN_W) & (end_ms > start_ms)
        start_ms, end_ms, power_w = start_ms[known], end_ms[known], power_w[known]
        while len(start_ms):
            hour = start_ms // HOUR_MS
            until_ms = np.minimum(end_ms, (hour + 1) * HOUR_MS)
            numbers, place = np.unique(hour, return_inverse=True)
            sums: NDArray[np.int64] = np.zeros(len(numbers), dtype=np.int64)
            np.add.at(sums, place, power_w * (until_ms - start_ms))
            for number, energy_mj in zip(numbers.tolist(), sums.tolist(), strict=True):
                hours[number] = hours.get(number, 0) + energy_mj
            left = until_ms < end_ms
            start_ms, end_ms, power_w = until_ms[left], end_ms[left], power_w[left]
