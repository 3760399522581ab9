"""From accepted to durable: readings wait here, share a commit, and are answered for after it.

One thread writes. While it commits, what arrives waits in the event loop and shares the next commit; so one
``fsync``, or one way to BigQuery, serves everybody, and an idle writer serves a lone device at once. Everything but
``Store.append`` runs on the loop's thread, so nothing here needs a lock.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

import structlog

from heatfleet.domain.messages import PlainReading
from heatfleet.errors import Overloaded, Refused, StoreUnavailable, TooMany
from heatfleet.metrics import Metrics
from heatfleet.storage.base import Store
from heatfleet.storage.block import Block

COMMIT_READINGS_MAX = 100_000
COMMIT_REQUESTS_MAX = 1024
"""One commit takes no more than this (or one request alone), so that none lasts long."""
FEW_READINGS = 8
"""As many as a usual message may have, and a few more."""
STUCK_S = 2.0
"""A commit that runs longer means a dying disk, or BigQuery far away: new readings are refused until it ends."""
TROUBLE_S = 30.0
"""So long after a failed commit the server counts as not ready, if no later one succeeds."""

GATHER_REQUESTS_MIN = 4
GATHER_REQUESTS_MAX = 128
GATHER_S = 0.001
"""After a commit, the next one waits for as many requests as were in flight, if these were so many, though for no more
than this many, and not longer than this."""

log = structlog.get_logger(__name__)

Done = Callable[[Refused | None], object]
"""Told once, on the loop's thread: ``None`` when the readings are durable, else why none of them was kept."""
Request = tuple[Sequence[PlainReading] | Block, Done]


class Ingest:
    """Accepts readings up to a bound, commits them in groups, says so afterwards. Lives on one running loop."""

    def __init__(self, store: Store, *, readings_max: int, clock: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._readings_max = readings_max
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Request] = deque()
        self._readings = 0
        self._shares: dict[str | None, int] = {}
        self._commit: list[Done] = []
        self._commit_readings = 0
        self._commit_began_s = 0.0
        self._awaited = 1
        self._trouble: Refused | None = None
        self._trouble_s = 0.0
        self._closed: asyncio.Future[None] | None = None
        self._commits: SimpleQueue[list[Block] | None] = SimpleQueue()
        # A daemon, so that a disk that never answers cannot keep a process that was told to leave.
        self._writer = Thread(target=self._write, name="heatfleet-writer", daemon=True)
        self._writer.start()
        metrics.queue_readings.set_function(lambda: self._readings)

    @property
    def readings(self) -> int:
        """How many readings are accepted and not yet answered for."""
        return self._readings

    @property
    def trouble(self) -> Refused | None:
        """Why the last commit failed, unless that is long ago: who sends nothing because of it would never know."""
        recent = self._loop.time() - self._trouble_s < TROUBLE_S
        return self._trouble if recent else None

    def refusal(self, readings: int = 1) -> Refused | None:
        """Why so many readings would be refused now: ``Overloaded``, ``StoreUnavailable``, or no reason.

        An empty queue takes any number, or a large batch could never be taken.
        """
        if self._closed is not None:
            return StoreUnavailable("the server is stopping; nothing more is written", retry_after_s=5)
        if self._commit and self._loop.time() - self._commit_began_s > STUCK_S:
            return Overloaded("the last readings are not stored yet; send these again later", 2)
        if self._readings and self._readings + readings > self._readings_max:
            return Overloaded("too many readings wait to be stored; send these again later")
        return None

    def check(self, readings: int = 1) -> None:
        """Raise the ``refusal``, if there is one."""
        if error := self.refusal(readings):
            raise error

    def put(self, readings: Sequence[PlainReading] | Block, done: Done, who: str | None = None) -> None:
        """Accept readings; ``done`` is called once they are durable, or with the reason why none of them is.

        What comes with the name of ``who`` sends it may fill half of the queue, so that there is room for others; the
        few readings of usual messages are not counted, as there cannot be enough connections to fill it with them.
        Raises what ``check`` raises, and ``TooMany`` for one who has filled that half; then ``done`` is never called.
        """
        size = len(readings)
        shared = size > FEW_READINGS and who is not None
        if shared:
            self._expect_share(who, size)
        # Nothing of what may lead to a refusal is there: worth a look of its own, at every message.
        if self._closed is not None or self._commit or self._readings + size > self._readings_max:
            self.check(size)
        self._readings += size
        if shared:
            done = self._in_share(who, size, done)
        self._waiting.append((readings, done))
        if len(self._waiting) >= self._awaited and not self._commit:
            self._begin()

    async def write(self, readings: Sequence[PlainReading] | Block, who: str | None = None) -> None:
        """As ``put``, for who can wait; raises the reason. Cancelling the wait does not cancel the commit."""
        durable: asyncio.Future[None] = self._loop.create_future()

        def done(error: Refused | None) -> None:
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        self.put(readings, done, who)
        await durable

    async def close(self) -> None:
        """Accept no more, commit what was accepted, stop the writer."""
        self._closed = self._loop.create_future()
        self._awaited = 1
        if self._waiting and not self._commit:
            self._begin()
        if self._commit:
            await self._closed
        self._commits.put(None)
        self._writer.join()

    def _expect_share(self, who: str | None, size: int) -> None:
        taken = self._shares.get(who, 0)
        if taken and taken + size > self._readings_max // 2:
            raise TooMany("too many readings of this key wait to be stored; send these again later")

    def _in_share(self, who: str | None, size: int, done: Done) -> Done:
        self._shares[who] = self._shares.get(who, 0) + size

        def done_with_it(error: Refused | None) -> None:
            self._shares[who] -= size
            if not self._shares[who]:
                del self._shares[who]
            done(error)

        return done_with_it

    def _begin(self) -> None:
        """Hand the oldest that wait to the writer, as many as fit into one commit."""
        waiting, commit, size = self._waiting, self._commit, 0
        blocks: list[Block] = []
        loose: list[PlainReading] = []
        while waiting and len(commit) < COMMIT_REQUESTS_MAX:
            readings, done = waiting[0]
            if size and size + len(readings) > COMMIT_READINGS_MAX:
                break
            size += len(readings)
            commit.append(done)
            if isinstance(readings, Block):
                blocks.append(readings)
            else:
                loose += readings
            waiting.popleft()
        # Packed here, where they were made a moment ago: the other thread's core would have to fetch every object.
        if loose:
            blocks.append(Block.of(loose))
        self._commit_readings = size
        self._commit_began_s = self._loop.time()
        self._commits.put(blocks)

    def _end(self, error: Refused | None) -> None:
        """Answer for the commit that ended, and begin the next one."""
        self._log(error)
        commit, self._commit = self._commit, []
        size = self._commit_readings
        lasted_s = self._loop.time() - self._commit_began_s
        if error is not None and lasted_s > STUCK_S / 2:
            # Who waited meanwhile would wait as long again, most likely for the same: a locked file, or BigQuery
            # that does not answer.
            size += sum(len(readings) for readings, _ in self._waiting)
            commit += [done for _, done in self._waiting]
            self._waiting.clear()
        self._readings -= size
        self._metrics.commit_seconds.observe(lasted_s)
        if error is None:
            self._metrics.commit_readings.observe(size)
            self._metrics.readings.inc(size)
        in_flight = len(commit) + len(self._waiting)
        self._awaited = sys.maxsize  # whoever sends again while the others are being told waits for them
        for done in commit:
            try:
                done(error)
            except Exception:
                # One that cannot be told must not keep the others from being told.
                log.exception("an answer could not be given")
        # Those who were just answered are given a moment to send again. Otherwise two groups take turns, each waiting
        # while the other is written, and it takes twice the commits. A few are not worth anybody's wait.
        gathers = in_flight >= GATHER_REQUESTS_MIN and self._closed is None
        self._awaited = min(in_flight, GATHER_REQUESTS_MAX) if gathers else 1
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next commit, if enough wait for one."""
        if len(self._waiting) >= self._awaited:
            self._begin()
        elif self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _wait_no_longer(self) -> None:
        """Who was awaited did not come in time."""
        self._awaited = 1
        if not self._commit:
            self._go_on()

    def _write(self) -> None:
        """The writer's thread: one commit after the other, until told to stop."""
        patience_s: float | None = None
        while True:
            try:
                blocks = self._commits.get(timeout=patience_s)
            except Empty:
                patience_s = None
                self._tell(self._wait_no_longer)
                continue
            if blocks is None:
                return
            error = self._append(blocks)
            patience_s = GATHER_S
            self._tell(self._end, error)

    def _tell(self, what: Callable[..., object], *values: object) -> None:
        with suppress(RuntimeError):  # the loop was closed in haste: nobody waits any more
            self._loop.call_soon_threadsafe(what, *values)

    def _append(self, blocks: list[Block]) -> Refused | None:
        try:
            self._store.append(blocks, self._clock())
        except Refused as error:
            return error
        except Exception as error:  # noqa: BLE001  # the writer lives on, whatever happens
            unplanned = StoreUnavailable("the store failed in a way nobody planned for; see the log")
            unplanned.__cause__ = error
            return unplanned
        return None

    def _log(self, error: Refused | None) -> None:
        """Log when trouble begins and when it ends: a line for each commit would help to fill the disk."""
        if error is not None and self._trouble is None:
            log.error("readings cannot be stored", reason=str(error), exc_info=error)
        elif error is None and self._trouble is not None:
            log.warning("readings are stored again")
        self._trouble, self._trouble_s = error, self._loop.time()
