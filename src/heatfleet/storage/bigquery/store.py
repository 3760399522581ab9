"""The BigQuery store: readings appended by the Storage Write API, figures reckoned by SQL inside BigQuery.

Any number of servers may append to one dataset; one rollup at a time is at work, whoever starts it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Generic, TypeVar

from google.api_core.exceptions import NotFound

from heatfleet.errors import AnotherRollup, SetupError, StoreUnavailable
from heatfleet.storage.base import Ages, DeviceFilter, DevicePage, DeviceState, Figures, Patience, Rollup, StoreStatus
from heatfleet.storage.base.oldest import Oldest
from heatfleet.storage.bigquery import questions
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.bigquery.connect import query_client, write_client
from heatfleet.storage.bigquery.head import Head, expect_hold, milliseconds, read_head
from heatfleet.storage.bigquery.queries import QUESTION, Queries
from heatfleet.storage.bigquery.reckoner import Reckoner, untaken_after
from heatfleet.storage.bigquery.room import make_room
from heatfleet.storage.bigquery.statements import statement
from heatfleet.storage.block import Block

FRESH_S = 5.0
"""So old may be what probes and metrics are told."""
T = TypeVar("T")


class BigQueryStore:
    """``storage.base.Store`` on BigQuery."""

    def __init__(self, url: str, *, hold_ms: int, writable: bool, ages: Ages | None = None) -> None:
        """Open the store. BigQuery may be away just now: a server takes up its work when it is back.

        Raises ``SetupError`` if the figures were reckoned with another hold, or for what this store does not do.
        """
        self._address = Address.of(url)
        self._hold_ms = hold_ms
        self._ages = ages
        if ages and ages.archive_after_days:
            msg = "HEATFLEET_ARCHIVE_AFTER_DAYS is for SQLite; BigQuery keeps old days at half the price by itself"
            raise SetupError(msg)
        self._client = query_client(self._address)
        self._queries = Queries(self._client, self._address)
        dataset = f"projects/{self._address.project}/datasets/{self._address.dataset}"
        self._appender = Appender(partial(write_client, self._address), dataset) if writable else None
        self._products = questions.Products(self._queries)
        self._known_head = Lately(self._head)
        self._known_waiting = Lately(self._waiting_since)
        self._waiting = Waiting()
        self._oldest = Oldest(ages.retention_days if ages else 0, lambda: self._known_head().kept_from_ms)
        try:
            if writable:
                self.check()
                self._oldest.look()
            else:
                self._known_head()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NotFound):
                self.close()
                raise SetupError(str(error)) from error
            if not writable:
                self.close()
                raise
        except SetupError:
            self.close()
            raise

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Make readings durable; see ``Store.append``."""
        if self._appender is None:
            raise SetupError("this store was opened for reading only")
        self._appender.append(blocks, received_ms)
        self._waiting.appended(received_ms)

    @property
    def set_aside(self) -> int:
        """How many readings went to the table ``dead_letter``; see ``Store.set_aside``."""
        return self._appender.set_aside if self._appender is not None else 0

    def rollup(self, now_ms: int) -> Rollup:
        """Bring the figures up to date; see ``Store.rollup``."""
        with self._reckoner() as reckoner:
            done = reckoner.rollup(now_ms)
        self._forget()
        return done

    def rebuild(self, now_ms: int) -> Rollup:
        """Make all figures again, then take what was appended; see ``Store.rebuild``."""
        started_s = time.monotonic()
        with self._reckoner(rebuilding=True) as reckoner:
            readings = reckoner.rebuild(now_ms)
            done = reckoner.rollup(now_ms)
        self._forget()
        return Rollup(done.as_of_ms, readings + done.readings, 0, time.monotonic() - started_s)

    def make_room(self) -> bool:
        """Remove what is old enough; see ``Store.make_room``."""
        if not self._known_head().retention_days:
            return False
        with self._reckoner() as reckoner:
            is_more = make_room(reckoner)
        self._forget()
        return is_more

    def oldest_ms(self, now_ms: int) -> int:
        """Before which readings are refused; see ``Store.oldest_ms``."""
        return self._oldest.at(now_ms)

    def as_of_ms(self) -> int:
        """The instant of the last rollup; see ``Store.as_of_ms``."""
        return self._head().as_of_ms

    def figures(
        self,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of the fleet or of one product; see ``Store.figures``."""
        return questions.figures(self._queries, (first_slot, end_slot), product_id, patience)

    def device_figures(
        self,
        device_id: str,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of one device, reckoned from its own readings; see ``Store.device_figures``."""
        while True:
            head = self._head()
            asked = (device_id, (first_slot, end_slot), product_id, patience)
            found = questions.device_figures(self._queries, head, self._hold_ms, *asked)
            if head.kept_from_ms == self._head().kept_from_ms:
                return found
            # Days were removed while we read: some may have been missed.

    def device(self, device_id: str) -> DeviceState | None:
        """One device's state; see ``Store.device``."""
        return questions.device(self._queries, device_id)

    def devices(self, wanted: DeviceFilter, *, now_ms: int, position: int = 0, limit: int = 100) -> DevicePage:
        """Some devices that fit a filter; see ``Store.devices``."""
        known_after_ms = now_ms - self._hold_ms
        return questions.devices(self._queries, wanted, known_after_ms=known_after_ms, position=position, limit=limit)

    def products(self, device_ids: Sequence[str]) -> Mapping[str, str]:
        """What devices were last heard as; see ``Store.products``."""
        return self._products.of(device_ids)

    def status(self, now_ms: int) -> StoreStatus:
        """How far the figures had come some seconds ago, of what this server appended; see ``Store.status``."""
        head = self._known_head()
        since_ms = self._waiting.since_ms(head) if self._appender is not None else self._known_waiting()
        lag_ms = 0 if since_ms is None else max(0, now_ms - since_ms)
        return StoreStatus(head.as_of_ms, lag_ms, head.devices, head.kept_from_ms)

    def check(self) -> None:
        """See ``Store.check``; what was known some seconds ago will do."""
        head = self._known_head()
        expect_hold(head, self._hold_ms)
        if self._ages is not None and self._ages.retention_days != head.retention_days:
            self._queries.run(statement("head_ages"), QUESTION, retention_days=self._ages.retention_days)
            self._known_head.forget()

    def close(self) -> None:
        """Let go of connections."""
        if self._appender is not None:
            self._appender.close()
        self._client.close()  # type: ignore[no-untyped-call]

    def _head(self) -> Head:
        return read_head(self._client, self._address)

    def _reckoner(self, *, rebuilding: bool = False) -> Reckoner:
        """One who may reckon, if nobody is at work: asking for the lease in vain could break their transaction off."""
        head = self._head()
        if head.lease_until > datetime.now(UTC):
            raise AnotherRollup("another rollup is at work; try again when it is done", retry_after_s=30)
        return Reckoner(self._queries, self._hold_ms, rebuilding=rebuilding)

    def _waiting_since(self) -> int | None:
        [(since,)] = self._queries.run(statement("waiting_since"), QUESTION, after=untaken_after(self._known_head()))
        return None if since is None else milliseconds(since)

    def _forget(self) -> None:
        self._known_head.forget()
        self._known_waiting.forget()


class Waiting:
    """Since when what this server appended waits for a rollup. To ask BigQuery is to read hours of appends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._oldest_ms: int | None = None
        self._newest_ms = 0

    def appended(self, received_ms: int) -> None:
        """Something was appended that was received then."""
        with self._lock:
            self._oldest_ms = received_ms if self._oldest_ms is None else self._oldest_ms
            self._newest_ms = max(self._newest_ms, received_ms)

    def since_ms(self, head: Head) -> int | None:
        """When the oldest of it came, ``None`` if all was taken."""
        taken_until_ms = milliseconds(head.taken_until)
        with self._lock:
            if self._oldest_ms is None or self._newest_ms <= taken_until_ms:
                self._oldest_ms = None
                return None
            return max(self._oldest_ms, taken_until_ms)


class Lately(Generic[T]):
    """What somebody was told of late is told again, for some seconds; so is an error. Any thread may ask."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._until_s = 0.0
        self._answer: T | StoreUnavailable | None = None

    def __call__(self) -> T:
        """The answer."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                try:
                    self._answer = self._ask()
                except StoreUnavailable as error:
                    self._answer = error
                self._until_s = time.monotonic() + FRESH_S
            if isinstance(self._answer, StoreUnavailable):
                raise self._answer
            return self._answer  # type: ignore[return-value]

    def forget(self) -> None:
        """Ask anew the next time."""
        self._until_s = 0.0
