"""Reports take turns: they are reckoned in threads beside the loop that takes messages, and share its interpreter lock.

A thread at work takes up to half of the interpreter from the loop, forty of them nearly all. So only a few work at a
time; and while messages wait, each place stays empty after its turn for nine times as long as that took, up to a limit.
Two places then work a fifth of the time, and cost the loop about a tenth of it; long reports cost more. Who asks waits
only for those who asked before.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from heatfleet.ingest import Ingest

PLACES = 2
"""One long report, of a device over years, does not hold up the others."""
REST = 9
REST_MAX_S = 2.0

T = TypeVar("T")


class Turns:
    """The places at which reports are reckoned. Belongs to one event loop."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._places = asyncio.Semaphore(PLACES)

    async def take(self, work: Callable[[], T]) -> T:
        """Wait for a place, and do the work there in a thread."""
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        began_s = loop.time()
        try:
            return await run_in_threadpool(work)
        finally:
            messages_wait = self._ingest.readings > 0
            rest_s = min(REST * (loop.time() - began_s), REST_MAX_S) if messages_wait else 0.0
            loop.call_later(rest_s, self._places.release)
