"""The books of one simulation: the energy there really was, and what can be known of it, by hour."""

from dataclasses import dataclass

import numpy as np

from heatfleet.simulator.dice import Floats, Ints
from heatfleet.simulator.faults import SLOWEST_CLOCK_MS
from heatfleet.simulator.knowable import Knowable
from heatfleet.simulator.options import SimulationOptions
from heatfleet.simulator.truth import HOUR_MS, HourTruth, Truth
from heatfleet.simulator.wire import Messages

_MJ_PER_WH = 3_600_000
_NOTHING = HourTruth(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class HourAccount:
    """One UTC hour of the fleet; ``start_ms`` since the epoch, energies in Wh.

    ``knowable_mj`` is exact, in whole mJ, and ``None`` when no power was known in the hour. The three losses
    and the tail say where it differs from ``true_wh``: ``true + quantisation + silence + clock + tail =
    knowable``.
    """

    start_ms: int
    true_wh: float
    knowable_mj: int | None
    quantisation_wh: float
    silence_wh: float
    clock_wh: float
    tail_wh: float

    @property
    def knowable_wh(self) -> float:
        """What can be known of this hour, in Wh; 0 when nothing can."""
        return (self.knowable_mj or 0) / _MJ_PER_WH


class Account:
    """Keeps the books while the fleet lives; the fleet writes, ``hours`` reads."""

    def __init__(self, options: SimulationOptions, start_ms: int, phase_ms: Ints) -> None:
        self.start_ms = self.end_ms = start_ms
        self._truth = Truth(phase_ms)
        self._stamped = Knowable(options.devices, options.hold_s * 1000)
        clocks_are_wrong = options.faults.wrong_clock_share > 0
        self._true_clock = Knowable(options.devices, options.hold_s * 1000) if clocks_are_wrong else self._stamped
        self._slack_ms = SLOWEST_CLOCK_MS if clocks_are_wrong else 0

    def step(self, start_ms: int, end_ms: int, drawn_w: Floats, said_w: Floats) -> None:
        """Note one step of physics: what every device drew, and what it last said it draws, in W."""
        self._truth.record(start_ms, drawn_w, said_w)
        self.end_ms = end_ms

    def deliver(self, rows: Messages) -> None:
        """Note messages that arrive, sooner or later; with them, all measured before ``end_ms`` are noted."""
        self._stamped.add(rows)
        if self._true_clock is not self._stamped:
            self._true_clock.add(rows, clock="true_ms")
            self._true_clock.settle(self.end_ms)
        self._stamped.settle(self.end_ms - self._slack_ms)

    def hours(self, now_ms: int) -> list[HourAccount]:
        """Every hour the simulation touched, in order, as it can be known at ``now_ms`` (not before ``end_ms``).

        The last is the one that contains the end: the simulated time ends inside it or with it. Devices say
        nothing after the end, so the service goes on believing their last values, for the hold at most and
        not beyond now: what this adds after the end, in that last hour, is the *tail*.
        """
        truth = self._truth.hours()
        stamped, right = self._stamped.hours_mj(now_ms), self._true_clock.hours_mj(now_ms)
        until_end = self._true_clock.hours_mj(self.end_ms)
        first, last = self.start_ms // HOUR_MS, (self.end_ms - 1) // HOUR_MS
        return [
            HourAccount(
                start_ms=hour * HOUR_MS,
                true_wh=(true := truth.get(hour, _NOTHING)).drawn_wh,
                knowable_mj=stamped.get(hour),
                quantisation_wh=true.said_wh - true.drawn_wh,
                silence_wh=until_end.get(hour, 0) / _MJ_PER_WH - true.said_wh,
                clock_wh=(stamped.get(hour, 0) - right.get(hour, 0)) / _MJ_PER_WH,
                tail_wh=(right.get(hour, 0) - until_end.get(hour, 0)) / _MJ_PER_WH,
            )
            for hour in np.arange(first, last + 1).tolist()
        ]
