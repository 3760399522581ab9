"""The energy that was really drawn, hour by hour, and what the devices believed of it.

This is physics, not accounting: the sum of power x time over all steps, whether anything was reported or not.
"""

from dataclasses import dataclass

import numpy as np

from heatfleet.simulator.dice import Floats, Ints
from heatfleet.simulator.homes import STEP_S
from heatfleet.simulator.options import STEP_MS

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class HourTruth:
    """One UTC hour of the whole fleet, in Wh.

    ``drawn_wh`` went through the heaters; ``said_wh`` is what they would add up to if every device always
    drew exactly what it last said, so the difference is what rounding and the dead band cost.
    """

    drawn_wh: float
    said_wh: float


class Truth:
    """Adds up steps of a fleet.

    Each device measures at its own ``phase_ms`` (0 .. STEP_MS) after the start of a step, and its step lasts
    from there to the same phase of the next: so an hour's last step reaches ``phase_ms`` into the next hour,
    and is cut there.
    """

    def __init__(self, phase_ms: Ints) -> None:
        self._phase_s: Floats = phase_ms / 1000
        self._closed: dict[int, HourTruth] = {}
        self._hour = 0
        self._carried = HourTruth(0.0, 0.0)
        self._clear()

    def _clear(self) -> None:
        count = len(self._phase_s)
        self._drawn_w, self._said_w = np.zeros(count), np.zeros(count)  # summed over the steps of this hour
        self._last_drawn_w, self._last_said_w = np.zeros(count), np.zeros(count)

    def record(self, start_ms: int, drawn_w: Floats, said_w: Floats) -> None:
        """Take one step into account; ``start_ms`` is a whole step, and every hour has at least one."""
        self._hour = start_ms // HOUR_MS
        self._drawn_w += drawn_w
        self._said_w += said_w
        self._last_drawn_w, self._last_said_w = drawn_w, said_w
        if (start_ms + STEP_MS) % HOUR_MS == 0:
            self._closed[self._hour] = self._so_far()
            self._carried = self._beyond()
            self._clear()

    def hours(self) -> dict[int, HourTruth]:
        """All hours (number of the hour since the epoch) up to the end of the last step.

        To be asked before the arrays of that step change.
        """
        if self._hour in self._closed:
            return dict(self._closed)
        return {**self._closed, self._hour: self._so_far()}

    def _so_far(self) -> HourTruth:
        beyond = self._beyond()
        return HourTruth(
            self._carried.drawn_wh + float(self._drawn_w.sum()) * STEP_S / 3600 - beyond.drawn_wh,
            self._carried.said_wh + float(self._said_w.sum()) * STEP_S / 3600 - beyond.said_wh,
        )

    def _beyond(self) -> HourTruth:
        return HourTruth(
            float((self._last_drawn_w * self._phase_s).sum()) / 3600,
            float((self._last_said_w * self._phase_s).sum()) / 3600,
        )
