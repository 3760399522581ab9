"""The wall clock of a simulation, as an argument: tests bring one that needs no waiting."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """``now_ms`` gives ms since the epoch, ``sleep`` waits for some seconds."""

    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]


def wall_clock() -> Clock:
    """The clock of this machine."""
    return Clock(now_ms=lambda: time.time_ns() // 1_000_000, sleep=asyncio.sleep)


async def sleep_unless(stop: asyncio.Event, clock: Clock, delay_s: float) -> None:
    """Wait for ``delay_s`` seconds, or about until ``stop`` is set."""
    left_s = delay_s
    while left_s > 0 and not stop.is_set():
        await clock.sleep(min(left_s, 0.25))
        left_s -= 0.25
