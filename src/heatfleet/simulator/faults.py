"""What goes wrong between a device and the service, configurable and repeatable.

Everything here is a function of device and moment (see ``dice``), so a fault is the same whatever order or
block the messages are handled in.
"""

import numpy as np

from heatfleet.simulator.dice import Dice, Flags, Floats, Ints
from heatfleet.simulator.options import FaultOptions
from heatfleet.simulator.wire import Messages

_PERIOD_MS = 12 * 3_600_000
_USUAL_OUTAGE_MS = 1.5 * 3_600_000
_CLOCK_SPELL_MS = 6 * 3_600_000
_SLOWEST_CLOCK_TENS = 720  # clocks are wrong by tens of seconds, so that old and new stamps can fall on each other
_FASTEST_CLOCK_TENS = 20  # well under the 300 s from which the service refuses a reading as coming from the future

SLOWEST_CLOCK_MS = _SLOWEST_CLOCK_TENS * 10_000


class Outages:
    """One kind of being offline: at most one outage per device and half-day, of some minutes to some hours.

    The half-days begin at another moment for each device. ``share`` of all device time is inside an outage.
    """

    def __init__(self, dice: Dice, purpose: str, share: float, device: Ints) -> None:
        self._dice, self._purpose, self._device = dice, purpose, device
        self._shift_ms = (dice.uniform(f"{purpose} shift", device) * _PERIOD_MS).astype(np.int64)
        self._mean_ms = max(_USUAL_OUTAGE_MS, share * _PERIOD_MS)
        self._chance = share * _PERIOD_MS / self._mean_ms
        self._spread = min(0.9, _PERIOD_MS / self._mean_ms - 1.0)

    def around(self, index: Ints, time_ms: Ints) -> tuple[Ints, Ints, Ints]:
        """(start, end of the outage, end of the half-day) in ms for each (device index, moment).

        A half-day without an outage gives an empty one: start equals end.
        """
        device, shift_ms = self._device[index], self._shift_ms[index]
        period = (time_ms + shift_ms) // _PERIOD_MS
        begins_ms = period * _PERIOD_MS - shift_ms
        length: Floats = self._dice.uniform(f"{self._purpose} length", device, period)
        length_ms = self._mean_ms * (1.0 + self._spread * (2.0 * length - 1.0))
        length_ms = length_ms * (self._dice.uniform(f"{self._purpose} chance", device, period) < self._chance)
        place = self._dice.uniform(f"{self._purpose} place", device, period)
        start_ms = begins_ms + np.floor(place * (_PERIOD_MS - length_ms)).astype(np.int64)
        return start_ms, start_ms + np.floor(length_ms).astype(np.int64), begins_ms + _PERIOD_MS


class Faults:
    """All faults of one fleet. ``device`` are the numbers of its devices; rows carry indices into it."""

    def __init__(self, options: FaultOptions, dice: Dice, device: Ints, start_ms: int) -> None:
        self._options, self._dice, self._device = options, dice, device
        self._silence = Outages(dice, "silence", options.silence_share, device)
        self._delay = Outages(dice, "delay", options.delay_share, device)
        wrong = dice.uniform("wrong clock", device) < options.wrong_clock_share
        draw = dice.uniform("clock error", device)
        slow = -1 - np.floor(draw * _SLOWEST_CLOCK_TENS)
        fast = 1 + np.floor(draw * _FASTEST_CLOCK_TENS)
        tens = np.where(dice.uniform("clock slow", device) < 0.7, slow, fast)
        self._clock_error_ms: Ints = np.where(wrong, tens * 10_000, 0).astype(np.int64)
        self._look_again_ms: Ints = np.full(len(device), start_ms, dtype=np.int64)
        self._comes_back: Flags = np.zeros(len(device), dtype=np.bool_)

    def back_online(self, time_ms: Ints) -> Flags:
        """Which devices have just come back from silence; to be asked for every step, in order of time."""
        if self._options.silence_share == 0:
            return np.zeros(len(time_ms), dtype=np.bool_)
        due = self._look_again_ms <= time_ms
        back = due & self._comes_back
        index = np.flatnonzero(due)
        if len(index):
            start_ms, end_ms, period_end_ms = self._silence.around(index, time_ms[index])
            ahead = (end_ms > start_ms) & (end_ms > time_ms[index])
            self._look_again_ms[index] = np.where(ahead, end_ms, period_end_ms)
            self._comes_back[index] = ahead
        return back

    def offline(self, index: Ints, time_ms: Ints) -> Flags:
        """Whether each device is offline, silent or delayed, at its moment."""
        return self._silent(index, time_ms) | (self._delayed_until(index, time_ms) > 0)

    def apply(self, rows: Messages) -> Messages:
        """The messages that do arrive, with clock errors, times of arrival and repeats; changes ``rows``."""
        options = self._options
        device, number = self._device[rows["device"]], rows["number"].astype(np.int64)
        rows["latency_ms"] = 50 + np.floor(350 * self._dice.uniform("latency", device, number))
        rows["arrival_ms"] = rows["true_ms"] + rows["latency_ms"]
        if options.wrong_clock_share:
            rows["time_ms"] += self._clock_off_ms(rows)
        if options.delay_share:
            until_ms = self._delayed_until(rows["device"], rows["true_ms"])
            burst_ms = np.floor(60_000 * self._dice.uniform("burst", device, number)).astype(np.int64)
            rows["arrival_ms"] = np.where(until_ms > 0, until_ms + burst_ms + 50, rows["arrival_ms"])
        if options.disorder_share:
            held_up = self._dice.uniform("disorder", device, number) < options.disorder_share
            by_ms = np.floor(1000 * 900 ** self._dice.uniform("held up by", device, number)).astype(np.int64)
            rows["arrival_ms"] += np.where(held_up, by_ms, 0)
        if options.silence_share:
            rows = rows[~self._silent(rows["device"], rows["true_ms"])]
        return self._repeat(rows) if options.repeat_share else rows

    def _repeat(self, rows: Messages) -> Messages:
        device, number = self._device[rows["device"]], rows["number"].astype(np.int64)
        again = rows[self._dice.uniform("repeat", device, number) < self._options.repeat_share]
        device, number = self._device[again["device"]], again["number"].astype(np.int64)
        again["arrival_ms"] += 1_000 + np.floor(599_000 * self._dice.uniform("again", device, number)).astype(np.int64)
        return np.concatenate([rows, again])

    def _silent(self, index: Ints, time_ms: Ints) -> Flags:
        if self._options.silence_share == 0:
            return np.zeros(len(index), dtype=np.bool_)
        start_ms, end_ms, _ = self._silence.around(index, time_ms)
        return (start_ms <= time_ms) & (time_ms < end_ms)

    def _delayed_until(self, index: Ints, time_ms: Ints) -> Ints:
        """When the device is online again, or 0 where it is online now."""
        if self._options.delay_share == 0:
            return np.zeros(len(index), dtype=np.int64)
        start_ms, end_ms, _ = self._delay.around(index, time_ms)
        return np.where((start_ms <= time_ms) & (time_ms < end_ms), end_ms, 0)

    def _clock_off_ms(self, rows: Messages) -> Ints:
        device, spell = self._device[rows["device"]], rows["true_ms"] // _CLOCK_SPELL_MS
        wrong_now = self._dice.uniform("clock spell", device, spell) < 0.5
        return np.where(wrong_now, self._clock_error_ms[rows["device"]], 0)
