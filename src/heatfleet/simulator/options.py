"""What a simulation is asked to do."""

from dataclasses import dataclass, field, fields
from typing import Self

from heatfleet.simulator.errors import SimulatorError

STEP_MS = 10_000
"""One step of the physics. Starts and ends of a run are rounded down to whole steps."""

MAX_DEVICES = 1_000_000


@dataclass(frozen=True, slots=True)
class FaultOptions:
    """How much goes wrong. Every share is between 0 (never) and 1; the default is a perfect world.

    ``silence_share``      of device time: offline, and what is said meanwhile is lost for ever
    ``delay_share``        of device time: offline, but what is said is kept and comes in one burst afterwards
    ``disorder_share``     of messages: held up on the way for 1 s to 15 min, so that others overtake
    ``repeat_share``       of messages: delivered twice, the second time up to 10 min later
    ``wrong_clock_share``  of devices: for half of the quarter-days the clock is up to 2 h slow or 200 s fast
    """

    silence_share: float = 0.0
    delay_share: float = 0.0
    disorder_share: float = 0.0
    repeat_share: float = 0.0
    wrong_clock_share: float = 0.0

    def __post_init__(self) -> None:
        for name in (item.name for item in fields(self)):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise SimulatorError(f"{name} is {share}; a share is between 0 and 1")

    @classmethod
    def all(cls) -> Self:
        """Every fault at once, at rates one sees in the field."""
        return cls(
            silence_share=0.03,
            delay_share=0.03,
            disorder_share=0.02,
            repeat_share=0.02,
            wrong_clock_share=0.05,
        )

    @property
    def any(self) -> bool:
        """Whether anything at all goes wrong."""
        return any(getattr(self, item.name) > 0 for item in fields(self))


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """One simulation; two with equal options produce the same bytes.

    ``start_ms``, ``end_ms``  what is lived through, in ms since the epoch; no end = live until stopped
    ``speed``                 simulated seconds per second while there is history to catch up with; None = as
                              fast as possible. No device is ever ahead of the wall clock: from *now* on, live
    ``url``                   where the service is; devices post to ``{url}/message``
    ``batch_size``            messages per request
    ``connections``           requests under way at once; 1 keeps the order of arrival exact
    ``arrival_seed``          if given, the same set of messages arrives in another order, each held up by
                              chance for up to ``arrival_window_s`` seconds (a window as long as the run is a
                              full shuffle, and all of it is held in memory)
    ``hold_s``                the service's ``max_hold_s``, for the accounting of what can be known
    ``first_device``          number of the first device, so that several processes can share one fleet
    ``obey_orders``           listen to ``{url}/commands/stream`` while running live or at a given speed
    """

    devices: int
    start_ms: int
    end_ms: int | None = None
    speed: float | None = None
    url: str = "http://127.0.0.1:8000"
    seed: int = 1
    faults: FaultOptions = field(default_factory=FaultOptions)
    batch_size: int = 2_000
    connections: int = 2
    arrival_seed: int | None = None
    arrival_window_s: float = 600.0
    hold_s: int = 3_600
    first_device: int = 0
    obey_orders: bool = True

    def __post_init__(self) -> None:
        checks = {
            f"devices is {self.devices}; it is 1 to {MAX_DEVICES}": 1 <= self.devices <= MAX_DEVICES,
            "start_ms is before the year 2000; it is milliseconds since the epoch": self.start_ms >= 946_684_800_000,
            "the end is not after the start": self.end_ms is None or self.end_ms >= self.start_ms + STEP_MS,
            "speed must be above 0": self.speed is None or self.speed > 0,
            "batch_size is 1 to 10 000, what the service takes at once": 1 <= self.batch_size <= 10_000,
            "connections is 1 to 64": 1 <= self.connections <= 64,
            "seeds are 0 to 2^63 - 1": all(0 <= seed < 2**63 for seed in (self.seed, self.arrival_seed or 0)),
            "arrival_window_s and first_device cannot be negative": min(self.arrival_window_s, self.first_device) >= 0,
            "hold_s is at least 1": self.hold_s >= 1,
        }
        for complaint, fine in checks.items():
            if not fine:
                raise SimulatorError(complaint)
