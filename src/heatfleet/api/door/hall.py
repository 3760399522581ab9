"""What all connections of one server share: limits, answers that are ready, counts, and the watch over deadlines."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from heatfleet.api.decode import Batch
from heatfleet.api.door.heads import Heads
from heatfleet.api.envelope import PUSH_BYTES_MAX
from heatfleet.api.message import PATH, answer_to, count
from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import answer, answer_error, slug_of, spread_s
from heatfleet.api.watch import UNKNOWN_ROUTE
from heatfleet.errors import HeatfleetError, Refused
from heatfleet.metrics import Metrics

if TYPE_CHECKING:
    from heatfleet.api.door.guard import Guard

SWEEP_S = 0.25
_EXPIRED_AT_ONCE_MAX = 250
"""Closing takes the loop some 50 us a connection: the others wait for the next sweep."""
CONNECTIONS_MAX = 8192
_OWN_FILES = 200
"""Descriptors left for databases, pipes and whatever else is no connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a client may keep us waiting, in seconds, and how much it may send.

    Head and body count from their request's first byte, and no trickle moves them; but every
    ``body_bytes_per_s`` that arrived earn a body another second. ``write_s`` is for a client that does not read.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: int = 16 * 1024
    idle_s: float = 60.0
    write_s: float = 30.0
    linger_s: float = 1.0
    leave_s: float = 0.5
    head_bytes: int = 16 * 1024
    head_fields: int = 100
    # Above what any route takes, so that a route that reads its body refuses it in its own words.
    body_bytes: int = PUSH_BYTES_MAX + 1024 * 1024
    connections: int = CONNECTIONS_MAX


class Hall(ServerState):
    """Uvicorn hands its ``ServerState`` to every connection; this one carries what the doors share."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.heads = Heads()
        self.now_s = 0.0
        """The loop's time as of the last sweep: exact enough for deadlines, and free."""
        self._ready: dict[object, bytes] = {}
        self._ready_under: list[tuple[bytes, bytes]] = []
        self._to_count: list[Batch] = []
        self._refused: Counter[type[Refused]] = Counter()

    def answered(self, batch: Batch, metrics: Metrics) -> bytes:
        """The answer to a request that is done with; it is counted."""
        if batch.rejected:
            count(metrics, [batch])
            return self._counted(answer_to(batch), PATH, metrics)
        if not self._to_count:
            # Counted once for all that one commit stored: a metric costs more than adding up does.
            asyncio.get_running_loop().call_soon(self._count, metrics)
        self._to_count.append(batch)
        if self._ready_under is not self.default_headers:
            self._forget()
        ready = self._ready.get(len(batch.readings))
        if ready is None:
            ready = self._ready[len(batch.readings)] = self._written(answer_to(batch))
        return ready

    def _forget(self) -> None:
        """Uvicorn has made the list anew, as it does once a second, for the date."""
        self._ready_under = self.default_headers
        self._ready.clear()

    def _count(self, metrics: Metrics) -> None:
        batches, self._to_count = self._to_count, []
        count(metrics, batches)
        metrics.http_answers.labels(PATH, "200").inc(len(batches))

    def refused(self, error: HeatfleetError, metrics: Metrics) -> bytes:
        """The answer to a plain request of which nothing is stored; it is counted.

        One that comes too soon must cost less than one that is taken, or too many would leave no time for any.
        """
        if not isinstance(error, Refused):
            metrics.rejected.labels(slug_of(error)).inc()
            return self._counted(answer_error(error), PATH, metrics)
        if not self._refused:
            asyncio.get_running_loop().call_soon(self._count_refused, metrics)
        self._refused[type(error)] += 1
        if self._ready_under is not self.default_headers:
            self._forget()
        seconds = spread_s(error.retry_after_s)
        key = type(error), str(error), seconds
        ready = self._ready.get(key)
        if ready is None:
            ready = self._ready[key] = self._written(answer_error(error, seconds))
        return ready

    def _count_refused(self, metrics: Metrics) -> None:
        refused, self._refused = self._refused, Counter()
        for kind, count_of_kind in refused.items():
            slug = slug_of(kind(""))
            metrics.rejected.labels(slug).inc(count_of_kind)
            metrics.http_answers.labels(PATH, str(PROBLEMS[slug].status)).inc(count_of_kind)

    def last_words(self, slug: str, metrics: Metrics) -> bytes:
        """The answer to what is no request, or comes at the wrong time; the connection is closed after it."""
        problem = PROBLEMS[slug]
        headers = {"Connection": "close"} | ({"Retry-After": str(spread_s(1))} if problem.retryable else {})
        return self._counted(answer(slug, problem.advice, headers), UNKNOWN_ROUTE, metrics)

    def _counted(self, response: Response, route: str, metrics: Metrics) -> bytes:
        metrics.http_answers.labels(route, str(response.status_code)).inc()
        return self._written(response)

    def _written(self, response: Response) -> bytes:
        """A response as uvicorn would write it."""
        fields = (b"%s: %s\r\n" % field for field in (*self.default_headers, *response.raw_headers))
        return b"".join((STATUS_LINE[response.status_code], *fields, b"\r\n", response.body))

    async def watch(self) -> None:
        """Look after every connection's deadlines, until cancelled: one sweep instead of a timer for each request."""
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(loop.time())

    def sweep(self, now_s: float) -> None:
        """Tell the connections whose client kept us waiting for too long."""
        doors = cast("Iterable[Guard]", self.connections)
        behind_s = now_s - self.now_s - SWEEP_S
        self.now_s = now_s
        if behind_s > SWEEP_S:
            # We were asleep, not the clients: nobody could send us anything.
            for door in doors:
                door.due_s += behind_s
                door.read_due_s += behind_s
        expired = [door for door in doors if door.due_s < now_s or door.read_due_s < now_s]
        for door in expired[:_EXPIRED_AT_ONCE_MAX]:
            door.expire()


def allow_many_files() -> None:
    """Raise this process's limit of open files to what it may have; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def connections_max() -> int:
    """How many connections this process can hold, and leave some files for itself."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = CONNECTIONS_MAX if soft == resource.RLIM_INFINITY else soft - _OWN_FILES
    return max(1, min(CONNECTIONS_MAX, possible))
