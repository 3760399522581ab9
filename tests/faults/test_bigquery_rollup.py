"""Rollups in BigQuery that meet, that are cut off, and that are taken for dead: figures are the definition's."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from google.cloud import bigquery

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS
from heatfleet.errors import AnotherRollup
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.queries import Queries
from heatfleet.storage.bigquery.reckoner import Reckoner
from heatfleet.storage.bigquery.setup import create_tables
from heatfleet.storage.bigquery.store import BigQueryStore
from heatfleet.storage.block import Block
from tests.bigquery_server.running import BigQueryServer
from tests.oracle import HOLD_MS, defined, told

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = START_MS + 6 * HOUR_MS
FIRST = [Reading("a", "p", POWER, START_MS, 1000.0), Reading("b", "q", TEMPERATURE, START_MS + 5, 20.0)]
SECOND = [
    Reading("a", "p", POWER, START_MS + HOUR_MS // 2, 500.0),  # in order
    Reading("b", "q", POWER, START_MS + 1, 300.0),  # late
    Reading("c", "q", POWER, START_MS + HOUR_MS, 200.0),  # new
]


class Cut(Exception):
    """The process ends here."""


@pytest.fixture
def url(bigquery_server: BigQueryServer) -> str:
    """The address of an empty store."""
    address = bigquery_server.address.url(bigquery_server.dataset())
    with query_client(Address.of(address)) as client:
        create_tables(client, Address.of(address))
    return address


@pytest.fixture
def client(url: str) -> Iterator[bigquery.Client]:
    """Google's client for that store."""
    with query_client(Address.of(url)) as opened:
        yield opened


@pytest.fixture
def store(url: str) -> Iterator[BigQueryStore]:
    """The store, with a first rollup done."""
    with closing(BigQueryStore(url, hold_ms=HOLD_MS, writable=True)) as opened:
        say(opened, FIRST)
        opened.rollup(START_MS + HOUR_MS // 4)
        yield opened


def say(store: BigQueryStore, readings: Sequence[Reading]) -> None:
    store.append([Block.of(readings)], NOW_MS)


def let_the_lease_run_out(client: bigquery.Client) -> None:
    client.query_and_wait("UPDATE head SET lease_until = TIMESTAMP_MILLIS(0) WHERE TRUE")


def test_one_rollup_at_a_time(url: str, store: BigQueryStore, client: bigquery.Client) -> None:
    """Who finds the lease taken goes, and says so; once it is given back, the next one rolls up."""
    say(store, SECOND)
    with Reckoner(Queries(client, Address.of(url)), HOLD_MS):
        with pytest.raises(AnotherRollup):
            store.rollup(NOW_MS)

        assert START_MS + HOUR_MS // 4 == store.as_of_ms()
    store.rollup(NOW_MS)

    assert defined(FIRST + SECOND, NOW_MS) == told(store.figures())


def test_who_was_taken_for_dead_writes_nothing(url: str, store: BigQueryStore, client: bigquery.Client) -> None:
    """A rollup that comes to itself after its lease ran out, and another one rolled up, is given up."""
    say(store, SECOND)
    with Reckoner(Queries(client, Address.of(url)), HOLD_MS) as slow:
        let_the_lease_run_out(client)
        store.rollup(NOW_MS)
        with pytest.raises(AnotherRollup):
            slow.rollup(NOW_MS)
        assert defined(FIRST + SECOND, NOW_MS) == told(store.figures())
    store.rollup(NOW_MS)

    assert defined(FIRST + SECOND, NOW_MS) == told(store.figures())


def test_a_rollup_cut_off_at_any_query_is_made_good_by_the_next(store: BigQueryStore, client: bigquery.Client) -> None:
    """Before each query and after it: nothing is lost and nothing counts twice."""
    said = list(FIRST)
    run = Queries.run
    for cut_at in count():
        more = [one._replace(time_ms=one.time_ms + cut_at * 60_000) for one in SECOND]
        now_ms = NOW_MS + cut_at * 1000
        say(store, more)
        said += more
        asked = count()

        def cut_off(self: Queries, *args: Any, at: int = cut_at, asked: "count[int]" = asked, **values: Any) -> Any:
            number = next(asked)
            if number == at // 2 and at % 2 == 0:
                raise Cut
            found = run(self, *args, **values)
            if number == at // 2:
                raise Cut
            return found

        try:
            with patch.object(Queries, "run", cut_off):
                store.rollup(now_ms)
        except Cut:
            let_the_lease_run_out(client)
            store.rollup(now_ms)
        else:
            assert cut_at > 12
            break
        assert defined(said, now_ms) == told(store.figures())
