"""What a device says: only what changed, rounded the way its firmware rounds.

* Power in whole watts, at once when the heater goes on or off, and otherwise when it has moved by more than
  the dead band (1 % of the rating): the mains voltage wanders, so this happens several times an hour while
  heating.
* Temperature in steps of 0.1 °C, at most about every five minutes.
* The switch when an order changed it. The service drops this code; real devices send it all the same.
* Everything at start, and when the device comes back from having been offline.
"""

import numpy as np

from heatfleet.simulator.dice import Dice, Flags, Floats, Ints
from heatfleet.simulator.wire import MESSAGE, NOT_SAID, Messages

_DEAD_BAND_SHARE = 0.01


class Reporters:
    """The firmware of all devices: remembers what each last said, and finds who has something new."""

    def __init__(self, dice: Dice, device: Ints, rated_w: Floats) -> None:
        count = len(device)
        self.said_w: Floats = np.full(count, np.nan)
        self._said_tenths: Floats = np.full(count, np.nan)
        self._said_switch: Flags = np.ones(count, dtype=np.bool_)
        self._tenths_allowed_ms: Ints = np.zeros(count, dtype=np.int64)
        self._number: Ints = np.zeros(count, dtype=np.int64)
        self._dead_band_w = np.maximum(2.0, np.round(_DEAD_BAND_SHARE * rated_w))
        self._pause_ms = np.round(dice.between("temperature pause", 270_000, 360_000, device)).astype(np.int64)

    def observe(self, time_ms: Ints, power_w: Floats, sensor_c: Floats, switch: Flags, everything: Flags) -> Messages:
        """The messages of one step, by index of device: who says what, having measured at ``time_ms``.

        ``everything`` marks the devices that say all their properties, changed or not. The fault and arrival
        columns are left as in a perfect world.
        """
        watts = np.rint(power_w)
        moved = np.abs(watts - self.said_w) > self._dead_band_w
        moved |= (watts == 0) != (self.said_w == 0)
        moved |= everything
        tenths = np.rint(sensor_c * 10)
        warmer = (tenths != self._said_tenths) & (time_ms >= self._tenths_allowed_ms)
        warmer |= everything
        turned = switch != self._said_switch
        turned |= everything
        device = np.flatnonzero(moved | warmer | turned)
        moved, warmer, turned = moved[device], warmer[device], turned[device]

        rows = np.empty(len(device), dtype=MESSAGE)
        rows["device"] = device
        rows["arrival_ms"] = rows["time_ms"] = rows["true_ms"] = time_ms[device]
        rows["number"] = self._number[device]
        rows["power_w"] = np.where(moved, watts[device], NOT_SAID)
        rows["tenths_c"] = np.where(warmer, tenths[device], NOT_SAID)
        rows["switch"] = np.where(turned, switch[device], NOT_SAID)
        rows["latency_ms"] = 0

        self._number[device] += 1
        self.said_w[device[moved]] = watts[device[moved]]
        self._said_switch[device[turned]] = switch[device[turned]]
        measured = device[warmer]
        self._said_tenths[measured] = tenths[measured]
        self._tenths_allowed_ms[measured] = time_ms[measured] + self._pause_ms[measured]
        return rows
