"""Appends to BigQuery: what each answer of its Write API, and each silence, means for whoever waits (B2)."""

import time
from typing import Any

import pytest
from grpc import StatusCode

from heatfleet.errors import StoreUnavailable
from heatfleet.storage.bigquery import append as module
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.block import Block
from tests.arrivals import NOW_MS, Arrivals, InTurn, append, some
from tests.bigquery_server.faults import (
    SCHEMA_CHANGED,
    AnsweredWithError,
    AnswerLost,
    Fault,
    Refused,
    Reset,
    Silence,
)
from tests.bigquery_server.running import FaultyBigQuery

AT_ONCE_S = 10.0
"""What takes no longer was told at once: an append has 20 s."""


def test_an_append_is_there_when_it_returns(arrivals: Arrivals, appender: Appender) -> None:
    """Every reading of every block, over one connection."""
    appender.append([], NOW_MS)
    appender.append([Block.of([])], NOW_MS)

    assert appender._line is None

    append(appender, some(1))
    line = appender._line
    for one in range(1, 9, 4):
        appender.append([Block.of(some(2, one)), Block.of([]), Block.of(some(2, one + 2))], NOW_MS)

        assert some(one + 4) == sorted(arrivals.readings())
    assert line is appender._line


def test_the_first_request_says_where_to(
    appender: Appender, arrivals: Arrivals, faulty_bigquery: FaultyBigQuery
) -> None:
    """The header that finds the region is there, or no table outside of the US could be appended to."""
    service, headers = faulty_bigquery.appends.service, []

    def looked_at(call: Any) -> Any:
        headers.append(dict(call.invocation_metadata))
        return service(call)

    faulty_bigquery.appends.service = looked_at  # type: ignore[method-assign]
    append(appender, some(1))

    stream = f"{arrivals.dataset_path}/tables/arrival/streams/_default"
    assert [f"write_stream={stream}"] == [one["x-goog-request-params"] for one in headers]


def test_many_readings_go_in_several_requests(
    arrivals: Arrivals, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one request may carry are cut; the append ends when the last is answered for."""
    monkeypatch.setattr("heatfleet.storage.bigquery.rows.ROWS_MAX", 10)

    append(appender, some(95))

    assert some(95) == sorted(arrivals.readings(), key=lambda one: one.time_ms)
    assert 10 == len({row.batch for row in arrivals.rows()})


@pytest.mark.parametrize(
    "fault",
    [
        Refused(StatusCode.UNAVAILABLE),
        Refused(StatusCode.INTERNAL),
        Refused(StatusCode.CANCELLED),
        Refused(StatusCode.ABORTED),
        Refused(StatusCode.DEADLINE_EXCEEDED),
        Refused(StatusCode.UNKNOWN),
        Refused(StatusCode.RESOURCE_EXHAUSTED),
        Refused(StatusCode.INVALID_ARGUMENT),
        AnsweredWithError(StatusCode.ABORTED),
        AnsweredWithError(StatusCode.INTERNAL),
        AnsweredWithError(StatusCode.RESOURCE_EXHAUSTED),
        SCHEMA_CHANGED,
        AnswerLost(StatusCode.UNAVAILABLE),
        AnswerLost(),
        Reset(),
    ],
    ids=lambda fault: f"{type(fault).__name__} {fault.__dict__.get('code')}",
)
def test_what_passes_is_tried_again(
    arrivals: Arrivals,
    appender: Appender,
    faulty_bigquery: FaultyBigQuery,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault that happens once costs nobody anything: they are sent again, as a new batch, over a new connection."""
    append(appender, some(1))
    monkeypatch.setattr(module, "ANSWER_S", 1.0)
    line = appender._line
    faulty_bigquery.appends.switch.set(fault, times=1)

    append(appender, some(1, 1))

    assert 1 == faulty_bigquery.appends.switch.met
    assert set(some(2)) == set(arrivals.readings())
    assert len(arrivals.rows()) == len({row.batch for row in arrivals.rows()})
    assert line is not appender._line


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Refused(StatusCode.PERMISSION_DENIED), "roles/bigquery.dataEditor"),
        (AnsweredWithError(StatusCode.PERMISSION_DENIED), "roles/bigquery.dataEditor"),
        (Refused(StatusCode.UNAUTHENTICATED), "credentials"),
        (Refused(StatusCode.NOT_FOUND), "heatfleet cloud init"),
        (Refused(StatusCode.UNIMPLEMENTED), "HEATFLEET_STORE"),
        (SCHEMA_CHANGED, "heatfleet cloud init"),
    ],
)
def test_what_does_not_pass_is_told_at_once(
    arrivals: Arrivals, appender: Appender, faulty_bigquery: FaultyBigQuery, fault: Fault, words: str
) -> None:
    """Who runs the server reads what to do; as soon as it is done, appends go on."""
    faulty_bigquery.appends.switch.set(fault)
    began_s = time.monotonic()

    with pytest.raises(StoreUnavailable, match=words) as refusal:
        append(appender, some(1))

    assert 60 == refusal.value.retry_after_s
    assert time.monotonic() - began_s < AT_ONCE_S
    assert [] == arrivals.rows()

    faulty_bigquery.appends.switch.clear()
    append(appender, some(1))

    assert some(1) == arrivals.readings()


def test_what_does_not_pass_is_not_tried_all_the_time(
    appender: Appender, faulty_bigquery: FaultyBigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast readings come, connections that are of no use are made at a measured pace."""
    monkeypatch.setattr(module, "REFUSED_S", 0.3)
    faulty_bigquery.appends.switch.set(Refused(StatusCode.PERMISSION_DENIED))
    began_s = time.monotonic()

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            append(appender, some(1))

    assert time.monotonic() - began_s >= 0.9
    assert 3 == faulty_bigquery.appends.switch.met


def test_a_table_that_is_another_is_told_of(arrivals: Arrivals, appender: Appender) -> None:
    """What is wrong with the table is told, and no reading is set aside for it."""
    append(appender, some(1))
    arrivals.ask("DROP TABLE arrival")

    with pytest.raises(StoreUnavailable, match="heatfleet cloud init"):
        append(appender, some(1))

    arrivals.ask("CREATE TABLE arrival (device_id STRING, received TIMESTAMP)")

    with pytest.raises(StoreUnavailable, match="has not the columns"):
        append(appender, some(1))

    assert [] == arrivals.letters()
    assert 0 == appender.set_aside


@pytest.mark.parametrize(
    "fault",
    [Refused(), Refused(StatusCode.RESOURCE_EXHAUSTED), Silence(), AnswerLost(), Reset()],
    ids=["unavailable", "exhausted", "silence", "answer lost", "reset"],
)
def test_an_append_is_given_up_in_time(
    arrivals: Arrivals,
    appender: Appender,
    faulty_bigquery: FaultyBigQuery,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While BigQuery takes nothing, an append ends with a refusal; then all is well again by itself."""
    monkeypatch.setattr(module, "APPEND_S", 0.7)
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    faulty_bigquery.appends.switch.set(fault)

    with pytest.raises(StoreUnavailable, match="send these again later") as refusal:
        append(appender, some(1))

    assert refusal.value.retry_after_s in (5, 10)
    assert faulty_bigquery.appends.switch.met > 1

    monkeypatch.undo()
    faulty_bigquery.appends.switch.clear()
    append(appender, some(1))

    assert set(some(1)) == set(arrivals.readings())


def test_half_an_append_is_none(
    arrivals: Arrivals, appender: Appender, faulty_bigquery: FaultyBigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one request was taken and another not, the append is refused; else only the other is sent again."""
    monkeypatch.setattr("heatfleet.storage.bigquery.rows.ROWS_MAX", 1)
    faulty_bigquery.appends.switch = InTurn(None, Refused(StatusCode.PERMISSION_DENIED))

    with pytest.raises(StoreUnavailable):
        append(appender, some(3))

    assert some(1) == arrivals.readings()

    faulty_bigquery.appends.switch = InTurn(None, AnsweredWithError(StatusCode.ABORTED))
    append(appender, some(3, 3))

    assert some(1) + some(3, 3) == sorted(set(arrivals.readings()))
    assert 1 == arrivals.readings().count(some(1, 3)[0])


def test_an_idle_connection_is_made_anew(
    arrivals: Arrivals, appender: Appender, faulty_bigquery: FaultyBigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """BigQuery ends a connection without readings for ten minutes; the next append is not even held up by it."""
    faulty_bigquery.appends.idle_s = 0.1
    append(appender, some(1))
    line = appender._line
    assert line is not None
    began_s = time.monotonic()
    while not line.is_broken:
        assert time.monotonic() - began_s < AT_ONCE_S
        time.sleep(0.01)
    faulty_bigquery.appends.idle_s = None

    append(appender, some(1, 1))

    assert some(2) == sorted(arrivals.readings())
    assert line is not appender._line
    assert "sent again" not in capsys.readouterr().out
