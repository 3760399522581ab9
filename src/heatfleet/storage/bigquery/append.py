"""Readings into the table ``arrival``: an append returns once BigQuery has answered for every row."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Event

import pyarrow as pa
import structlog
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from grpc import StatusCode

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.bigquery.append_failure import AppendFailed, bad_rows, check
from heatfleet.storage.bigquery.line import Line
from heatfleet.storage.bigquery.rows import ARRIVAL, DEAD_LETTER, dead_letters, rows_of, stamped, without
from heatfleet.storage.block import Block, unpack

APPEND_S = 20.0
"""After this an append is given up: who waits for the answer would not wait much longer."""
ANSWER_S = 8.0
"""A request that is not answered in this time is sent again over a new connection."""
IN_FLIGHT_MAX = 4
"""Requests of at most 9 MB on their way at a time."""
REFUSED_S = 1.0
"""What will not pass by itself is told after this: otherwise each commit would make a connection in vain."""
PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 2.0

log = structlog.get_logger(__name__)


class Appender:
    """Appends readings over one connection that is made when it is needed, and made anew whenever it breaks.

    ``connect`` makes Google's client. One thread appends; ``close`` may be called by another.
    """

    def __init__(self, connect: Callable[[], BigQueryWriteClient], dataset_path: str) -> None:
        self._connect = connect
        self._dataset_path = dataset_path
        self._line: Line | None = None
        self._closing = Event()
        self._is_well = True
        self.set_aside = 0
        """Readings that BigQuery refused and that were put into the table ``dead_letter`` instead."""

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """As ``Store.append``: raises ``StoreUnavailable`` unless every row was answered for."""
        bodies = [block.body for block in blocks if block.count]
        if not bodies:
            return
        work = _Work(deque(rows_of(unpack(*bodies))), received_ms)
        for tries in count(1):
            try:
                self._send(work)
            except AppendFailed as failure:
                self._hang_up()
                if refusal := failure.refusal(tries):
                    self._closing.wait(REFUSED_S)
                    raise refusal from failure
                self._say(failure)
                pause_s = _pause_s(tries, failure.code)
                if pause_s > work.left_s():
                    raise failure.too_late() from failure
                self._closing.wait(pause_s)
            except BaseException:
                self._hang_up()  # or answers that are still to come would be taken for those of the next append
                raise
            else:
                self._say(None)
                return

    def close(self) -> None:
        """End the connection, and soon whatever append is under way."""
        self._closing.set()
        self._hang_up()

    def _send(self, work: "_Work") -> None:
        """Send all rows that wait; those that are answered for wait no longer."""
        if self._line is None or self._line.is_broken:
            self._hang_up()
            self._line = self._dial("arrival", ARRIVAL)
            if self._closing.is_set():
                self._hang_up()  # it was not there yet when ``close`` looked for it
                raise AppendFailed(StatusCode.CANCELLED, "closing")
        line, waiting, sent = self._line, work.waiting, 0
        while waiting:
            while sent < min(len(waiting), IN_FLIGHT_MAX):
                line.send(stamped(waiting[sent], work.now_ms()))
                sent += 1
            answer = line.answer(work.answer_s())
            sent -= 1
            if bad := bad_rows(answer):
                self._put_aside(dead_letters(waiting[0], bad, work.now_ms()), work)
                if len(good := without(waiting[0], bad)):
                    waiting.append(good)
            else:
                check(answer)
            waiting.popleft()

    def _put_aside(self, letters: pa.RecordBatch, work: "_Work") -> None:
        """Rows for whose sake others would be refused go to the dead letters: rare enough to connect anew."""
        line = self._dial("dead_letter", DEAD_LETTER)
        try:
            line.send(letters)
            check(line.answer(work.answer_s()))
        finally:
            line.close()
        self.set_aside += len(letters)
        log.error("BigQuery refused readings: they are in the table dead_letter, with reasons", readings=len(letters))

    def _dial(self, table: str, schema: pa.Schema) -> Line:
        if self._closing.is_set():
            raise StoreUnavailable("the server is stopping; nothing more is written", retry_after_s=5)
        try:
            client = self._connect()
        except SetupError as error:  # who runs this mends it, and the server goes on
            raise StoreUnavailable(str(error), retry_after_s=60) from error
        return Line(client, f"{self._dataset_path}/tables/{table}", schema)

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _say(self, failure: AppendFailed | None) -> None:
        """Log when trouble begins and when it ends, however often an append is tried in between."""
        if failure is not None and self._is_well:
            log.warning("BigQuery did not take readings at once; they are sent again", reason=str(failure))
        elif failure is None and not self._is_well:
            log.warning("BigQuery takes readings again")
        self._is_well = failure is None


@dataclass(slots=True)
class _Work:
    """What is left of one append, and of its time."""

    waiting: deque[pa.RecordBatch]
    received_ms: int
    began_s: float = field(default_factory=time.monotonic)

    def now_ms(self) -> int:
        """The time, by the clock that ``received_ms`` was read from."""
        return self.received_ms + int((time.monotonic() - self.began_s) * 1000)

    def left_s(self) -> float:
        """Seconds until the append is given up."""
        return self.began_s + APPEND_S - time.monotonic()

    def answer_s(self) -> float:
        """How long to wait for the next answer."""
        return max(0.0, min(ANSWER_S, self.left_s()))


def _pause_s(tries: int, code: StatusCode) -> float:
    """At once over a new connection, then after longer and longer, and not when all others try too."""
    if tries == 1 and code is not StatusCode.RESOURCE_EXHAUSTED:
        return 0.0
    longest_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0**tries)
    return random.uniform(longest_s / 2, longest_s)  # noqa: S311 - nothing to guess
