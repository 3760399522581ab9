"""Reports take turns: they are reckoned in threads beside the loop that takes messages, and share its interpreter lock.

A thread at work takes up to half of the interpreter from the loop, forty of them nearly all. So only a few work at a
time; and while messages wait, each place stays empty after its turn for nine times as long as that took, up to a limit.
Two places then work a fifth of the time, and cost the loop about a tenth of it; long reports cost more. Who asks waits
only for those who asked before, and nobody without end: only so many may wait, each report has a deadline, and one that
nobody waits for any more is not reckoned, or no further.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from heatfleet.errors import Overloaded, StoreUnavailable, TooMany
from heatfleet.ingest import Ingest
from heatfleet.storage.base import Patience

PLACES = 2
"""One long report, of a device over years, does not hold up the others."""
REST = 9
REST_MAX_S = 2.0
WAITING_MAX = 64
"""More would hardly be reckoned before their deadline while messages wait."""
STOP_S = 2.0
"""How long reports may still take once the server is told to stop."""

T = TypeVar("T")


class Turns:
    """The places at which reports are reckoned. Belongs to one event loop."""

    def __init__(self, ingest: Ingest, *, report_s: float, closing: asyncio.Event) -> None:
        self._ingest = ingest
        self._report_s = report_s
        self._closing = closing
        self._places = asyncio.Semaphore(PLACES)
        self._asked = 0
        self._asked_by: Counter[str | None] = Counter()

    async def take(
        self, work: Callable[[Patience], T], gone: Callable[[], Awaitable[object]], who: str | None = None
    ) -> T:
        """Wait for a place, and do the work there in a thread; ``gone`` ends when the caller has hung up.

        Of one caller, ``who``, half as many may wait. Raises ``TooMany`` for one more, ``Overloaded`` when too many
        wait, ``ReportTooSlow`` at the deadline, ``ClientDisconnect`` when the caller has gone, ``StoreUnavailable``
        when the server stops. The work's patience is over then.
        """
        if who is not None and self._asked_by[who] >= WAITING_MAX // 2:
            raise TooMany("too many reports of this key wait; ask again later", retry_after_s=2)
        if self._asked >= PLACES + WAITING_MAX:
            raise Overloaded("too many reports wait; ask again later", retry_after_s=2)
        patience = Patience()
        turn = asyncio.ensure_future(self._turn(work, patience))
        hung_up, stops = asyncio.ensure_future(gone()), asyncio.ensure_future(self._stop())
        self._asked += 1
        self._asked_by[who] += 1
        try:
            await asyncio.wait((turn, hung_up, stops), timeout=self._report_s, return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                return await turn
            if hung_up.done():
                await hung_up
                raise ClientDisconnect
            if stops.done():
                raise StoreUnavailable("the server is stopping; no report is made any more", retry_after_s=5)
            patience.end()
            patience.check()
            raise AssertionError
        finally:
            self._asked -= 1
            self._asked_by[who] -= 1
            self._asked_by += Counter()  # leaves out those of whom none waits
            patience.end()
            for one in (turn, hung_up, stops):
                one.add_done_callback(_look_at)
                one.cancel()

    async def _stop(self) -> None:
        await self._closing.wait()
        await asyncio.sleep(STOP_S)

    async def _turn(self, work: Callable[[Patience], T], patience: Patience) -> T:
        await self._places.acquire()
        # A task of its own: a thread cannot be cancelled, and has its place until it ends by itself.
        working = asyncio.ensure_future(run_in_threadpool(work, patience))
        working.add_done_callback(partial(self._rest, asyncio.get_running_loop().time()))
        return await asyncio.shield(working)

    def _rest(self, began_s: float, worked: "asyncio.Future[T]") -> None:
        """Free the place of work that has ended, after its rest."""
        _look_at(worked)
        loop = asyncio.get_running_loop()
        messages_wait = self._ingest.readings > 0
        rest_s = min(REST * (loop.time() - began_s), REST_MAX_S) if messages_wait else 0.0
        loop.call_later(rest_s, self._places.release)


def _look_at(ended: "asyncio.Future[T]") -> None:
    """Take note of an error that nobody waits for any more: otherwise it is logged as a forgotten one."""
    if not ended.cancelled():
        ended.exception()
