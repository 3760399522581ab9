"""The wall clock."""

import asyncio
import time

from heatfleet.simulator.clock import sleep_unless, wall_clock
from tests.unit.simulator.conftest import Hand


def test_the_wall_clock_is_this_machines() -> None:
    """The wall clock counts milliseconds since the epoch, like the machine's."""
    before_s, now_ms, after_s = time.time(), wall_clock().now_ms(), time.time()

    assert int(before_s * 1000) <= now_ms <= after_s * 1000


async def test_stop_ends_a_sleep(hand: Hand) -> None:
    """A sleep takes as long as it was asked to, unless it is stopped."""
    stop = asyncio.Event()
    await sleep_unless(stop, hand.clock(), 1.1)
    assert abs(sum(hand.slept_s) - 1.1) < 1e-9

    stop.set()
    await sleep_unless(stop, hand.clock(), 100)
    assert abs(sum(hand.slept_s) - 1.1) < 1e-9
