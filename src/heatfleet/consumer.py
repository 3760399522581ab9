"""The process that pulls readings from a subscription: decoded and stored as those of a request, then acknowledged.

It writes to the store itself. What the store does not take now is held, and tried again: to give it back would let
Pub/Sub count it as undeliverable, and after some attempts put good messages among the dead letters.
"""

import asyncio
import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import structlog

from heatfleet.api.form import decode_published
from heatfleet.config import Settings
from heatfleet.domain.messages import PlainReading
from heatfleet.errors import BadMessage, Overloaded, Refused, SetupError
from heatfleet.ingest import Ingest
from heatfleet.messaging import open_subscription
from heatfleet.messaging.base import Received, Subscription
from heatfleet.metrics import Metrics
from heatfleet.refused import RefusedFile
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages, Store
from heatfleet.storage.block import Block

PROGRESS_S = 60.0
GRACE_S = 4.0
"""How long what was received may take to be stored, once told to stop."""
LEAVE_S = 9.0
"""After this long it leaves whatever hangs."""
PAUSE_S, PAUSE_MAX_S = 0.2, 15.0

NO_DEAD_LETTERS = (
    "the subscription has no dead-letter topic, so a message that can never be taken would come again for ever: give "
    "it one (`heatfleet cloud init` does), or keep such messages in a file: --refused-to PATH"
)

log = structlog.get_logger(__name__)


def run(settings: Settings, name: str, *, emulator: str | None = None, refused_to: Path | None = None) -> None:
    """Consume the subscription until SIGTERM or SIGINT, then leave in order.

    Raises ``SetupError`` when it cannot start, or meets a message that can never be taken and has nowhere to go.
    """
    subscription = open_subscription(name, bus=settings.bus, emulator=emulator)
    gc.set_threshold(100_000, 20, 100)  # as in server.py
    ages = Ages(settings.retention_days, settings.archive_after_days)
    with closing(open_store(settings.store, hold_ms=settings.max_hold_s * 1000, ages=ages)) as store:
        asyncio.run(_consume(settings, store, subscription, RefusedFile(refused_to) if refused_to else None))


async def _consume(settings: Settings, store: Store, subscription: Subscription, refused: RefusedFile | None) -> None:
    metrics = Metrics()
    ingest = Ingest(store, readings_max=settings.queue_readings_max, clock=_now_ms, metrics=metrics)
    consumer = Consumer(subscription, store, ingest, refused, metrics=metrics)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_stop, consumer.stopping, number)
    try:
        await consumer.run()
    finally:
        _leave_after(LEAVE_S - GRACE_S)
        await subscription.close()
        await ingest.close()
        consumer.say_progress("stopped")


def _told_to_stop(stopping: asyncio.Event, number: int) -> None:
    if stopping.is_set():
        _leave_at_once(128 + number, "told to stop twice")
    stopping.set()


def _leave_after(seconds: float) -> None:
    """End the process after so long, unless it has ended by then."""
    last_resort = threading.Timer(seconds, _leave_at_once, [1, "the store or Pub/Sub does not answer"])
    last_resort.daemon = True
    last_resort.start()


def _leave_at_once(code: int, reason: str) -> None:
    """End the process, whatever hangs in it; what was not acknowledged comes again."""
    log.error("stopped without waiting for what is under way", reason=reason)
    os._exit(code)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Consumer:
    """From a subscription into the store. ``stopping`` is set by who wants it to end."""

    def __init__(
        self,
        subscription: Subscription,
        store: Store,
        ingest: Ingest,
        refused: RefusedFile | None,
        *,
        metrics: Metrics,
        clock: Callable[[], int] = _now_ms,
    ) -> None:
        self.stopping = asyncio.Event()
        self._subscription, self._store, self._ingest, self._refused = subscription, store, ingest, refused
        self._metrics, self._clock = metrics, clock
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
        self._counts: Counter[str] = Counter()
        self._lag_ms = 0

    async def run(self) -> None:
        """Consume until told to stop, or until it cannot go on: then the reason is raised."""
        if self._refused is None and await self._subscription.has_dead_letters() is False:
            raise SetupError(NO_DEAD_LETTERS)
        log.info("consuming")
        pulling = asyncio.create_task(self._pull())
        progress = asyncio.create_task(self._say_progress())
        stopped = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([pulling, stopped], return_when=asyncio.FIRST_COMPLETED)
        self.stopping.set()
        for task in (pulling, progress, stopped):
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=GRACE_S)
        [ended, *_] = await asyncio.gather(pulling, progress, stopped, return_exceptions=True)
        for error in (self._failed, ended):
            if isinstance(error, Exception):
                raise error

    async def _pull(self) -> None:
        async for received in self._subscription.deliveries():
            storing = asyncio.create_task(self._store_all(received))
            self._under_way.add(storing)
            storing.add_done_callback(self._done)

    def _done(self, storing: asyncio.Task[None]) -> None:
        self._under_way.discard(storing)
        if not storing.cancelled() and (error := storing.exception()) is not None:
            self._failed = self._failed or error
            self.stopping.set()

    async def _store_all(self, received: Sequence[Received]) -> None:
        """Store what was delivered together, then acknowledge it; of what can never be taken see ``_refuse``."""
        now_ms = self._clock()
        oldest_ms = self._store.oldest_ms(now_ms)
        loose: list[PlainReading] = []
        blocks: list[Block] = []
        good: list[Received] = []
        bad: list[tuple[Received, Sequence[tuple[int, BadMessage]]]] = []
        messages = dropped = 0
        for one in received:
            try:
                batch = decode_published(one.data, now_ms, oldest_ms)
            except BadMessage as error:
                bad.append((one, [(-1, error)]))
                continue
            if isinstance(batch.readings, Block):
                blocks.append(batch.readings)
            else:
                loose += batch.readings
            messages, dropped = messages + batch.messages, dropped + batch.dropped
            if batch.rejected:
                bad.append((one, batch.rejected))
            else:
                good.append(one)
        if await self._persist(partial(self._write, [loose, *blocks])):
            self._metrics.messages.inc(messages)
            self._metrics.properties_dropped.inc(dropped)
            self._counts["messages"] += messages
            self._counts["readings"] += len(loose) + sum(map(len, blocks))
            self._lag_ms = max(self._lag_ms, now_ms - min(one.published_ms for one in received))
            self._subscription.acknowledge(good)
            await self._refuse(bad)
        else:
            self._subscription.give_back(received)

    async def _write(self, parts: Sequence[Sequence[PlainReading] | Block]) -> None:
        async with asyncio.TaskGroup() as group:
            for part in filter(len, parts):
                group.create_task(self._ingest.write(part))

    async def _persist(self, write: Callable[[], Awaitable[None]]) -> bool:
        """Write, as often as it takes; whether it was done before we were told to stop."""
        pause_s = PAUSE_S
        while True:
            try:
                await write()
            except* Refused as refusals:
                [refusal, *_] = refusals.exceptions
            else:
                return True
            if self.stopping.is_set():
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause_s * random.uniform(0.5, 1))  # noqa: S311
            if not isinstance(refusal, Overloaded):
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _refuse(self, bad: Sequence[tuple[Received, Sequence[tuple[int, BadMessage]]]]) -> None:
        """Messages that can never be taken: into the file, or back, for the dead-letter topic to take in the end."""
        for _, errors in bad:
            for _, error in errors:
                self._metrics.rejected.labels(error.kind).inc()
                self._counts[f"refused {error.kind}"] += 1
        if not bad:
            return
        received = [one for one, _ in bad]
        if self._refused is not None:
            if await self._persist(partial(self._refused.keep, bad)):
                self._subscription.acknowledge(received)
            return
        self._subscription.give_back(received)
        if not all(one.attempt for one in received):
            raise SetupError(NO_DEAD_LETTERS)

    async def _say_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self.say_progress("progress")

    def say_progress(self, event: str) -> None:
        """What was done since the last time: a line for each message would cost more than the message."""
        refused = {name.removeprefix("refused "): n for name, n in self._counts.items() if name.startswith("refused ")}
        log.info(
            event,
            messages=self._counts["messages"],
            readings=self._counts["readings"],
            refused=refused,
            lag_s=self._lag_ms / 1000,
            waiting=len(self._under_way),
        )
        self._counts.clear()
        self._lag_ms = 0
