"""The tables that readings are appended to, in a dataset of the local BigQuery, and what is in them."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

import pytest
from google.cloud import bigquery

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage.bigquery import append as append_module
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.bigquery.connect import query_client, write_client
from heatfleet.storage.bigquery.setup import create_tables
from heatfleet.storage.block import Block
from tests.bigquery_server.faults import Fault, Switch
from tests.bigquery_server.running import Address as Place
from tests.bigquery_server.running import BigQueryServer, FaultyBigQuery

NOW_MS = 1_768_068_000_000

READINGS = """
SELECT device_id, product_id, code, UNIX_MILLIS(time) AS time_ms, value, UNIX_MILLIS(received) AS received_ms, batch
FROM arrival WHERE received >= TIMESTAMP '2000-01-01'
"""
LETTERS = "SELECT UNIX_MILLIS(received) AS received_ms, reason, row_json FROM dead_letter"


class Arrivals:
    """The tables of one dataset, new and empty, as the server itself has them."""

    def __init__(self, place: Place, dataset: str) -> None:
        address = Address.of(place.url(dataset))
        self._client = query_client(address)
        self.dataset_path = f"projects/{self._client.project}/datasets/{dataset}"
        create_tables(self._client, address)

    def ask(self, sql: str) -> list[bigquery.Row]:
        """The rows of an answer."""
        return list(self._client.query_and_wait(sql))

    def rows(self) -> list[bigquery.Row]:
        """All rows that arrived, repeated ones included."""
        return self.ask(READINGS)

    def readings(self) -> list[Reading]:
        """The same as readings."""
        return [Reading(row.device_id, row.product_id, row.code, row.time_ms, row.value) for row in self.rows()]

    def letters(self) -> list[bigquery.Row]:
        """What was set aside."""
        return self.ask(LETTERS)

    def close(self) -> None:
        """Ask no more."""
        self._client.close()  # type: ignore[no-untyped-call]


class InTurn(Switch):
    """Faults for the next calls, one each, ``None`` for one that goes well."""

    def __init__(self, *faults: Fault | None) -> None:
        super().__init__()
        self._faults = list(faults)

    def take(self, subject: str) -> Fault | None:
        return self._faults.pop(0) if self._faults else None


@contextmanager
def appending(place: Place, dataset: str) -> Iterator[Appender]:
    """An appender as a store has it."""
    address = Address.of(place.url(dataset))
    path = f"projects/{address.project}/datasets/{address.dataset}"
    with closing(Appender(partial(write_client, address), path)) as appender:
        yield appender


@pytest.fixture
def arrivals(bigquery_server: BigQueryServer, dataset: str) -> Iterator[Arrivals]:
    """The tables of this test's own dataset, behind no fault."""
    with closing(Arrivals(bigquery_server.address, dataset)) as arrivals:
        yield arrivals


@pytest.fixture
def appender(
    faulty_bigquery: FaultyBigQuery, arrivals: Arrivals, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Appender]:
    """Appends to them, by a way on which things go wrong."""
    monkeypatch.setattr(append_module, "REFUSED_S", 0.0)
    with appending(faulty_bigquery.address, dataset) as appender:
        yield appender


def some(count: int, first: int = 0) -> list[Reading]:
    """Readings, each with a value of its own."""
    return [Reading(f"d{one}", "p1", POWER, NOW_MS + one, float(one)) for one in range(first, first + count)]


def append(appender: Appender, readings: Sequence[Reading]) -> None:
    """Append them."""
    appender.append([Block.of(readings)], NOW_MS)
