"""Telling listeners of orders where other servers publish some too: what is read in the ledger, in its order."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import ParamSpec, TypeVar

import structlog

from heatfleet.commands.listener import Listeners
from heatfleet.storage.base import Ledger

FOLLOW_S = 0.5
"""How often the ledger is asked for what other servers have published."""
LOOK_AFTER_S = 5.0
"""How often it is looked for orders that nobody will settle: of servers that died, and whose end could not be noted."""
_PAGE = 1_000

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger(__name__)


class Follower:
    """Reads on in a shared ledger and tells the listeners, who hear of nothing otherwise: so all hear it in one order.

    The thread of ``executor`` makes one call after the other, as the listeners' own calls. So one that is there before
    the next call is made, and then asks the ledger itself what there was before, misses nothing.
    """

    def __init__(self, executor: Executor, ledger: Ledger, listeners: Listeners, *, clock: Callable[[], int]) -> None:
        self._executor = executor
        self._ledger = ledger
        self._listeners = listeners
        self._clock = clock
        self._news = asyncio.Event()
        self._position = 0
        self._trouble = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with what is published from now on; ``StoreUnavailable`` when the ledger does not answer."""
        self._position = await self._ask(self._ledger.last_sequence)
        self._task = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Something was published here: read on at once."""
        self._news.set()

    async def _keep_up(self) -> None:
        """Read on, and from time to time settle what servers have left that died."""
        looked_s = time.monotonic()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FOLLOW_S):  # not wait_for, which may swallow that we are told to stop
                    await self._news.wait()
            self._news.clear()
            try:
                await self._read_on()
                if time.monotonic() - looked_s > LOOK_AFTER_S:
                    looked_s = time.monotonic()
                    await self._ask(self._ledger.fail_unsettled, self._clock())
            except Exception as error:  # whatever it is, orders that come later must be followed
                if not self._trouble:
                    log.exception("orders of other servers cannot be followed", reason=str(error))
                self._trouble = True
            else:
                self._trouble = False

    async def _read_on(self) -> None:
        if not self._listeners:
            self._position = await self._ask(self._ledger.last_sequence)
            return
        while True:
            records = await self._ask(self._ledger.published, self._clock(), after=self._position, limit=_PAGE)
            for record in records:
                self._listeners.tell(record)
                self._position = record.sequence
            if len(records) < _PAGE:
                return

    async def _ask(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.wrap_future(self._executor.submit(call, *args, **kwargs))
