"""From accepted to durable: readings wait here, share a commit, and are answered for after it.

One thread writes. While it commits, what arrives waits in the event loop and shares the next commit; so one
``fsync`` serves everybody, and an idle writer serves a lone device at once. Everything but ``Store.append`` runs
on the loop's thread, so nothing here needs a lock.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from queue import SimpleQueue
from threading import Thread

import structlog

from heatfleet.domain.messages import Reading
from heatfleet.errors import Overloaded, Refused, StoreUnavailable
from heatfleet.metrics import Metrics
from heatfleet.storage.base import Store

COMMIT_READINGS_MAX = 100_000
"""One commit takes no more than this (or one request alone), so that none lasts long."""
STUCK_S = 2.0
"""A commit that runs longer means a locked or dying disk: new readings are refused until it ends."""
TROUBLE_S = 30.0
"""So long after a failed commit the server counts as not ready, if no later one succeeds."""

GATHER_REQUESTS_MAX = 128
GATHER_QUIET_TURNS = 16
GATHER_S = 0.001
"""After a commit, the next one waits for as many requests as were in flight, though for no more than this many, not
longer than this, and not when so many turns of the loop brought none."""

log = structlog.get_logger(__name__)

Done = Callable[[Refused | None], object]
"""Told once, on the loop's thread: ``None`` when the readings are durable, else why none of them was kept."""


class Ingest:
    """Accepts readings up to a bound, commits them in groups, says so afterwards. Lives on one running loop."""

    def __init__(self, store: Store, *, readings_max: int, clock: Callable[[], int], metrics: Metrics) -> None:
        self._store = store
        self._readings_max = readings_max
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Sequence[Reading], Done]] = deque()
        self._readings = 0
        self._commit: list[tuple[Sequence[Reading], Done]] = []
        self._commit_began_s = 0.0
        self._gathering = False
        self._trouble: Refused | None = None
        self._trouble_s = 0.0
        self._closed: asyncio.Future[None] | None = None
        self._commits: SimpleQueue[list[tuple[Sequence[Reading], Done]] | None] = SimpleQueue()
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
            return Overloaded("the disk has not taken the last readings yet; send these again later", 2)
        if self._readings and self._readings + readings > self._readings_max:
            return Overloaded("too many readings wait for the disk; send these again later")
        return None

    def check(self, readings: int = 1) -> None:
        """Raise the ``refusal``, if there is one."""
        if error := self.refusal(readings):
            raise error

    def put(self, readings: Sequence[Reading], done: Done) -> None:
        """Accept readings; ``done`` is called once they are durable, or with the reason why none of them is.

        Raises what ``check`` raises; then ``done`` is never called.
        """
        if error := self.refusal(len(readings)):
            raise error
        self._readings += len(readings)
        self._waiting.append((readings, done))
        if not self._commit and not self._gathering:
            self._begin()

    async def write(self, readings: Sequence[Reading]) -> None:
        """As ``put``, for who can wait; raises the reason. Cancelling the wait does not cancel the commit."""
        durable: asyncio.Future[None] = self._loop.create_future()

        def done(error: Refused | None) -> None:
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        self.put(readings, done)
        await durable

    async def close(self) -> None:
        """Accept no more, commit what was accepted, stop the writer."""
        self._closed = self._loop.create_future()
        if self._commit or self._gathering:
            await self._closed
        self._commits.put(None)
        self._writer.join()

    def _begin(self) -> None:
        """Hand the oldest that wait to the writer, as many as fit into one commit."""
        size = 0
        while self._waiting and (not size or size + len(self._waiting[0][0]) <= COMMIT_READINGS_MAX):
            item = self._waiting.popleft()
            size += len(item[0])
            self._commit.append(item)
        self._commit_began_s = self._loop.time()
        self._commits.put(self._commit)

    def _end(self, error: Refused | None) -> None:
        """Answer for the commit that ended, and begin the next one."""
        self._log(error)
        commit, self._commit = self._commit, []
        size = sum(len(readings) for readings, _ in commit)
        self._readings -= size
        self._metrics.commit_seconds.observe(self._loop.time() - self._commit_began_s)
        if error is None:
            self._metrics.commit_readings.observe(size)
            self._metrics.readings.inc(size)
        in_flight = len(commit) + len(self._waiting)
        self._gathering = True
        for _, done in commit:
            try:
                done(error)
            except Exception:
                # One that cannot be told must not keep the others from being told.
                log.exception("an answer could not be given")
        self._gather(min(in_flight, GATHER_REQUESTS_MAX), len(self._waiting), 0, self._loop.time() + GATHER_S)

    def _gather(self, awaited: int, before: int, quiet_turns: int, until_s: float) -> None:
        """Give those who were just answered a moment to send again, and then begin the next commit.

        Otherwise two groups take turns, each waiting while the other is written, and it takes twice the commits.
        Each turn of the loop reads the sockets; a timer of uvloop would be too coarse.
        """
        waiting = len(self._waiting)
        quiet_turns = quiet_turns + 1 if waiting == before else 0
        more_may_come = 1 < awaited > waiting and quiet_turns < GATHER_QUIET_TURNS
        if more_may_come and self._closed is None and self._loop.time() < until_s:
            self._loop.call_soon(self._gather, awaited, waiting, quiet_turns, until_s)
            return
        self._gathering = False
        if waiting:
            self._begin()
        elif self._closed is not None:
            self._closed.set_result(None)

    def _write(self) -> None:
        """The writer's thread: one commit after the other, until told to stop."""
        while (commit := self._commits.get()) is not None:
            error = self._append(list(chain.from_iterable(readings for readings, _ in commit)))
            with suppress(RuntimeError):  # the loop was closed in haste: nobody waits any more
                self._loop.call_soon_threadsafe(self._end, error)

    def _append(self, readings: list[Reading]) -> Refused | None:
        try:
            self._store.append(readings, self._clock())
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
