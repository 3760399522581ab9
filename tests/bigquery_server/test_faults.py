"""The faults of the local BigQuery: each does what its name says, and nothing else changes on the way."""

import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.api_core.exceptions import Aborted, DeadlineExceeded, Forbidden, GoogleAPICallError, ServiceUnavailable
from google.api_core.retry import Retry
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery_server.faults import (
    SCHEMA_CHANGED,
    AnsweredWithError,
    AnswerLost,
    Fault,
    HttpError,
    Poison,
    Refused,
    Reset,
    Silence,
    Slow,
)
from tests.bigquery_server.readings_table import TABLE, append, batch, power_by_device, request, writing
from tests.bigquery_server.running import BigQueryServer, FaultyBigQuery

NO_RETRY = Retry(predicate=lambda _: False)
LONG_S = 20
SHORT_S = 0.3


@pytest.fixture
def client(bigquery_server: BigQueryServer, dataset: str) -> Iterator[bigquery.Client]:
    """Google's client that meets no faults, of a server that has the table."""
    with bigquery_server.address.client() as client:
        client.query_and_wait(TABLE.format(dataset=dataset))
        yield client


def test_without_a_fault_all_is_carried(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """Appends of more than 4 MB and queries pass as they are; the REST requests are there to be looked at."""
    names = [f"{'a' * 100}{number}" for number in range(50_000)]
    assert [0] == [answer.error.code for answer in append(faulty_bigquery.address, request(dataset, batch(*names)))]
    with faulty_bigquery.address.client() as through:
        assert len(names) == len(power_by_device(through, dataset))
    assert ["POST"] == [
        asked.method for asked in faulty_bigquery.rest.asked if asked.path.endswith("/queries?prettyPrint=false")
    ]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Refused(), ServiceUnavailable),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "slower"), GoogleAPICallError),
        (Reset(), ServiceUnavailable),
        (AnswerLost(grpc.StatusCode.UNAVAILABLE), ServiceUnavailable),
    ],
    ids=["refused", "exhausted", "reset", "answer lost"],
)
def test_a_stream_ends_with_its_fault(
    client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str, fault: Fault, error: type[Exception]
) -> None:
    """The next append ends its stream, and lands only if merely its answer was lost; the one after goes through."""
    faulty_bigquery.appends.switch.set(fault, times=1)
    with pytest.raises(error):
        append(faulty_bigquery.address, request(dataset, batch("a")))
    assert (["a"] if isinstance(fault, AnswerLost) else []) == list(power_by_device(client, dataset))
    append(faulty_bigquery.address, request(dataset, batch("b")))
    assert "b" in power_by_device(client, dataset)
    assert 1 == faulty_bigquery.appends.switch.met


@pytest.mark.parametrize("fault", [Silence(), AnswerLost()], ids=["silence", "answer lost"])
def test_nobody_answers(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str, fault: Fault) -> None:
    """Under silence the client's deadline passes; with a lost answer the rows are there, without one they are not."""
    faulty_bigquery.appends.switch.set(fault)
    with writing(faulty_bigquery.address) as through, pytest.raises(DeadlineExceeded):
        next(iter(through.append_rows(iter([request(dataset, batch("a"))]), timeout=1, retry=None)))
    assert (["a"] if isinstance(fault, AnswerLost) else []) == list(power_by_device(client, dataset))


def test_after_silence_all_goes_on(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """What was asked during a silence is done when it ends."""
    faulty_bigquery.appends.switch.set(Silence())
    threading.Timer(SHORT_S, faulty_bigquery.appends.switch.clear).start()
    began_s = time.monotonic()
    append(faulty_bigquery.address, request(dataset, batch("a")))
    assert time.monotonic() - began_s >= SHORT_S
    assert ["a"] == list(power_by_device(client, dataset))


def test_answers_that_tell_of_errors(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """A quota, a changed schema and a poison row are told of in answers, also in the first; the stream goes on."""
    switch = faulty_bigquery.appends.switch
    given: list[types.AppendRowsResponse] = []

    def requests() -> Iterator[types.AppendRowsRequest]:
        for fault in (AnsweredWithError(), SCHEMA_CHANGED, Poison("bad"), None):
            switch.clear() if fault is None else switch.set(fault)
            first, then = request(dataset, batch("a", "bad")), types.AppendRowsRequest()
            then.arrow_rows.rows = first.arrow_rows.rows
            count = len(given)
            yield then if given else first
            while len(given) == count:
                time.sleep(0.01)

    with writing(faulty_bigquery.address) as through:
        given.extend(through.append_rows(requests()))
    exhausted, invalid = (
        code.value[0] for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    )
    assert [(exhausted, 0, []), (invalid, 1, []), (invalid, 0, [1]), (0, 0, [])] == [
        (answer.error.code, len(answer.error.details), [row.index for row in answer.row_errors]) for answer in given
    ]
    assert {"a": 0, "bad": 1} == power_by_device(client, dataset)


def test_an_idle_stream_is_ended(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """A stream on which nothing is asked for a while ends as BigQuery ends it."""
    faulty_bigquery.appends.idle_s = SHORT_S
    done = threading.Event()

    def requests() -> Iterator[types.AppendRowsRequest]:
        yield request(dataset, batch("a"))
        done.wait(LONG_S)

    with writing(faulty_bigquery.address) as through, pytest.raises(Aborted, match="inactive"):
        list(through.append_rows(requests()))
    done.set()
    assert ["a"] == list(power_by_device(client, dataset))


def test_slow_is_late_and_done(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """A slow append takes its time and lands; one to another table is not meant by `where`."""
    faulty_bigquery.appends.switch.set(Slow(SHORT_S), where="/tables/another/")
    append(faulty_bigquery.address, request(dataset, batch("a")))
    assert 0 == faulty_bigquery.appends.switch.met
    faulty_bigquery.appends.switch.set(Slow(SHORT_S), where="/tables/readings/")
    began_s = time.monotonic()
    append(faulty_bigquery.address, request(dataset, batch("b")))
    assert time.monotonic() - began_s >= SHORT_S
    assert ["a", "b"] == sorted(power_by_device(client, dataset))


def test_down_and_up_again(client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """While it is down nobody can connect; later all works again at the same address."""
    faulty_bigquery.down()
    with pytest.raises(ServiceUnavailable):
        append(faulty_bigquery.address, request(dataset, batch("a")))
    with faulty_bigquery.address.client() as through, pytest.raises(OSError, match="refused"):
        through.query_and_wait("SELECT 1", retry=NO_RETRY, job_retry=None)
    faulty_bigquery.up()
    append(faulty_bigquery.address, request(dataset, batch("b")))
    with faulty_bigquery.address.client() as through:
        assert ["b"] == list(power_by_device(through, dataset))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (HttpError(), ServiceUnavailable),
        (HttpError(403, "quotaExceeded"), Forbidden),
        (Reset(), OSError),
        (AnswerLost(), OSError),
    ],
    ids=["503", "quota", "reset", "answer lost"],
)
def test_a_query_fails_with_its_fault(
    client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str, fault: Fault, error: type[Exception]
) -> None:
    """The next request that speaks of it fails so, and is done only if merely its answer was lost."""
    sql = f"INSERT INTO {dataset}.readings (device_id, measured) VALUES ('a', CURRENT_TIMESTAMP())"
    faulty_bigquery.rest.switch.set(fault, times=1, where="INSERT")
    with faulty_bigquery.address.client() as through:
        assert {} == power_by_device(through, dataset)
        with pytest.raises(error):
            through.query_and_wait(sql, retry=NO_RETRY, job_retry=None)
        assert (["a"] if isinstance(fault, AnswerLost) else []) == list(power_by_device(through, dataset))


def test_a_query_hangs_until_the_fault_is_cleared(
    client: bigquery.Client, faulty_bigquery: FaultyBigQuery, dataset: str
) -> None:
    """A client with a deadline gives up, and what it asked for was not begun; when the fault is cleared it is done."""
    sql = f"INSERT INTO {dataset}.readings (device_id, measured) VALUES ('a', CURRENT_TIMESTAMP())"
    faulty_bigquery.rest.switch.set(Silence())
    with faulty_bigquery.address.client() as through, pytest.raises(OSError, match="timed out"):
        through.query_and_wait(sql, retry=NO_RETRY, job_retry=None, api_timeout=1)
    assert {} == power_by_device(client, dataset)
    faulty_bigquery.rest.switch.clear()
    until_s = time.monotonic() + LONG_S
    while not power_by_device(client, dataset) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert ["a"] == list(power_by_device(client, dataset))
