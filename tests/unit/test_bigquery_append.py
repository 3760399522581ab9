"""Appends to BigQuery: what each answer of its Write API means for whoever waits."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from grpc import StatusCode

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.bigquery import append as module
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.bigquery.connect import write_client
from heatfleet.storage.bigquery.rows import ARRIVAL, DEAD_LETTER
from heatfleet.storage.block import Block
from tests.append_server import DATASET, AppendServer, Fault

NOW_MS = 1_768_068_000_000
QUICK_S = 8.0
"""What takes no longer was told at once: an append has 20 s."""


@pytest.fixture
def server() -> Iterator[AppendServer]:
    running = AppendServer(arrival=ARRIVAL, dead_letter=DEAD_LETTER)
    yield running
    running.close()


@pytest.fixture
def appender(server: AppendServer) -> Iterator[Appender]:
    appender = Appender(partial(write_client, address(server)), DATASET)
    yield appender
    appender.close()


def address(server: AppendServer) -> Address:
    here = f"127.0.0.1:{server.port}"
    return Address("heatfleet-test", "fleet", rest=here, grpc=here)


def some(count: int, first: int = 0) -> list[Reading]:
    """Readings, each with a value of its own."""
    return [Reading(f"d{one}", "p1", POWER, NOW_MS + one, float(one)) for one in range(first, first + count)]


def values(server: AppendServer) -> list[float]:
    return [row["value"] for row in server.arrived]


def test_an_append_is_there_when_it_returns(server: AppendServer, appender: Appender) -> None:
    """Every reading of every block, over one connection that is opened once and says once what it carries."""
    for one in range(5):
        appender.append([Block.of(some(2, 4 * one)), Block.of([]), Block.of(some(2, 4 * one + 2))], NOW_MS)

        assert [float(value) for value in range(4 * one + 4)] == values(server)
    assert 1 == len(server.first_requests)
    assert max(server.requests_bytes[1:]) < server.requests_bytes[0]


def test_nothing_is_sent_for_nothing(server: AppendServer, appender: Appender) -> None:
    """Without readings there is no request."""
    appender.append([], NOW_MS)
    appender.append([Block.of([])], NOW_MS)

    assert [] == server.requests_bytes


def test_many_readings_go_in_several_requests(
    server: AppendServer, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one request may carry are cut, and the append ends when the last is answered for, in the order sent."""
    monkeypatch.setattr("heatfleet.storage.bigquery.rows.ROWS_MAX", 10)

    appender.append([Block.of(some(95))], NOW_MS)

    assert [10] * 9 + [5] == [len(batch) for batch in server.tables["arrival"].batches]
    assert [float(value) for value in range(95)] == values(server)
    assert 10 == len({row["batch"] for row in server.arrived})


@pytest.mark.parametrize(
    "fault",
    [
        StatusCode.UNAVAILABLE,
        StatusCode.INTERNAL,
        StatusCode.CANCELLED,
        StatusCode.ABORTED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNKNOWN,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.INVALID_ARGUMENT,
        ("say", StatusCode.ABORTED),
        ("say", StatusCode.INTERNAL),
        ("say", StatusCode.RESOURCE_EXHAUSTED),
        ("say", StatusCode.INVALID_ARGUMENT),
        "lose the answer",
        "end",
    ],
)
def test_what_passes_is_tried_again(server: AppendServer, appender: Appender, fault: Fault) -> None:
    """A fault that happens once costs nobody anything: they are sent again, as a new batch, over a new connection."""
    appender.append([Block.of(some(1))], NOW_MS)
    server.faults.append(fault)

    appender.append([Block.of(some(1, 1))], NOW_MS)

    assert {0.0, 1.0} == set(values(server))
    assert 2 == len(server.first_requests)
    assert len(server.arrived) == len({row["batch"] for row in server.arrived})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (StatusCode.PERMISSION_DENIED, "roles/bigquery.dataEditor"),
        (("say", StatusCode.PERMISSION_DENIED), "roles/bigquery.dataEditor"),
        (StatusCode.UNAUTHENTICATED, "credentials"),
        (StatusCode.NOT_FOUND, "heatfleet cloud init"),
        (StatusCode.UNIMPLEMENTED, "HEATFLEET_STORE"),
        (("say", StatusCode.INVALID_ARGUMENT), "heatfleet cloud init"),
    ],
)
def test_what_does_not_pass_is_told_at_once(server: AppendServer, appender: Appender, fault: Fault, words: str) -> None:
    """Who runs the server reads what to do; as soon as it is done, appends go on."""
    server.constant_fault = fault
    began_s = time.monotonic()

    with pytest.raises(StoreUnavailable, match=words) as refusal:
        appender.append([Block.of(some(1))], NOW_MS)

    assert 60 == refusal.value.retry_after_s
    assert time.monotonic() - began_s < QUICK_S
    assert [] == server.arrived

    server.constant_fault = None
    appender.append([Block.of(some(1))], NOW_MS)

    assert [0.0] == values(server)


def test_a_missing_table_is_told_at_once() -> None:
    """As above, by the server's own judgement."""
    server = AppendServer(dead_letter=DEAD_LETTER)
    appender = Appender(partial(write_client, address(server)), DATASET)
    try:
        with pytest.raises(StoreUnavailable, match="heatfleet cloud init"):
            appender.append([Block.of(some(1))], NOW_MS)
    finally:
        appender.close()
        server.close()


def test_a_table_that_lost_a_column_is_told_of(server: AppendServer, appender: Appender) -> None:
    """A new connection finds the schema as it is; nothing is put aside for what is wrong with the table."""
    appender.append([Block.of(some(1))], NOW_MS)
    server.tables["arrival"].columns = ARRIVAL.remove(1)
    server.faults.append(StatusCode.INVALID_ARGUMENT)

    with pytest.raises(StoreUnavailable, match="has not the columns"):
        appender.append([Block.of(some(1, 1))], NOW_MS)

    assert [] == server.tables["dead_letter"].rows()
    assert 0 == appender.set_aside


@pytest.mark.parametrize("fault", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, "hang", "take it and hang"])
def test_an_append_is_given_up_in_time(
    server: AppendServer, appender: Appender, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While BigQuery does not take anything, each append ends with a refusal; then all is well again by itself."""
    monkeypatch.setattr(module, "APPEND_S", 1.0)
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    server.constant_fault = fault

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="send these again later") as refusal:
            appender.append([Block.of(some(1))], NOW_MS)

        assert refusal.value.retry_after_s in (5, 10)
    assert len(server.first_requests) > 2

    server.constant_fault = None
    monkeypatch.undo()
    appender.append([Block.of(some(1))], NOW_MS)

    assert {0.0} == set(values(server))


def test_half_an_append_is_none(server: AppendServer, appender: Appender, monkeypatch: pytest.MonkeyPatch) -> None:
    """When some requests were taken and others not, the append is refused; what was taken is not sent again."""
    monkeypatch.setattr("heatfleet.storage.bigquery.rows.ROWS_MAX", 1)
    server.faults += [None, StatusCode.PERMISSION_DENIED]

    with pytest.raises(StoreUnavailable):
        appender.append([Block.of(some(3))], NOW_MS)

    assert [0.0] == values(server)

    server.faults += [None, ("say", StatusCode.ABORTED)]
    appender.append([Block.of(some(3, 3))], NOW_MS)

    assert 1 == values(server).count(3.0)
    assert {0.0, 3.0, 4.0, 5.0} == set(values(server))


def test_an_idle_connection_that_was_ended_is_made_anew(server: AppendServer, appender: Appender) -> None:
    """Ten minutes without readings: BigQuery ends the connection, and the next append does not even fail at first."""
    appender.append([Block.of(some(1))], NOW_MS)
    line = appender._line
    assert line is not None
    server.end_idle()
    line._reader.join(10)

    appender.append([Block.of(some(1, 1))], NOW_MS)

    assert [0.0, 1.0] == values(server)
    assert 2 == len(server.first_requests)


def test_missing_credentials_are_told() -> None:
    """The server goes on without Google, and says what is missing."""

    def connect() -> None:
        raise SetupError("Google's credentials are missing")

    with pytest.raises(StoreUnavailable, match="credentials are missing"):
        Appender(connect, DATASET).append([Block.of(some(1))], NOW_MS)  # type: ignore[arg-type]


def test_closing_ends_what_hangs(server: AppendServer, appender: Appender) -> None:
    """An append that nobody answers ends soon after ``close``, and every later one is refused."""
    server.constant_fault = "hang"
    told: list[StoreUnavailable] = []

    def append() -> None:
        with pytest.raises(StoreUnavailable) as refusal:
            appender.append([Block.of(some(1))], NOW_MS)
        told.append(refusal.value)

    thread = threading.Thread(target=append)
    thread.start()
    while not server.requests_bytes:
        time.sleep(0.01)
    began_s = time.monotonic()
    appender.close()
    thread.join(QUICK_S)

    assert not thread.is_alive()
    assert time.monotonic() - began_s < QUICK_S
    append()
    assert ["the server is stopping"] * 2 == [str(one).partition(";")[0] for one in told]
