"""Rows that BigQuery would not have: they are kept apart, and hold up no others (B3)."""

import json

import pytest
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from grpc import StatusCode

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.bigquery.append import Appender
from tests.arrivals import NOW_MS, Arrivals, InTurn, append, appending, some
from tests.bigquery_server.faults import AnsweredWithError, Poison, Refused
from tests.bigquery_server.running import FaultyBigQuery


def test_a_poison_row_holds_up_no_others(
    arrivals: Arrivals, appender: Appender, faulty_bigquery: FaultyBigQuery, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lies in the dead letters with the reason, is counted and told of; all others are there after one retry."""
    faulty_bigquery.appends.switch.set(Poison("d7"), where="/tables/arrival/")

    append(appender, some(20))

    assert [*some(7), *some(12, 8)] == sorted(arrivals.readings(), key=lambda one: one.time_ms)
    [letter] = arrivals.letters()
    assert {
        "device_id": "d7",
        "product_id": "p1",
        "code": POWER,
        "time": "2026-01-10T18:00:00.007000+00:00",
        "value": 7.0,
    } == json.loads(letter.row_json)
    assert "the row is bad" == letter.reason
    assert 1 == appender.set_aside
    assert "dead_letter" in capsys.readouterr().out

    append(appender, some(1, 7))

    assert 2 == appender.set_aside
    assert 19 == len(arrivals.rows())


def test_bad_rows_need_not_all_be_named_at_once(
    arrivals: Arrivals, appender: Appender, faulty_bigquery: FaultyBigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer has room for so many; the others are named the next time, and again all good rows arrive."""
    monkeypatch.setattr("heatfleet.storage.bigquery.append_failure.BAD_ROWS_MAX", 2)
    faulty_bigquery.appends.switch.set(Poison("bad"), where="/tables/arrival/")
    bad = [Reading("bad", "p1", POWER, NOW_MS, float(one)) for one in range(5)]

    append(appender, [*some(3), *bad, *some(3, 3)])

    assert some(6) == sorted(arrivals.readings(), key=lambda one: one.time_ms)
    assert {0.0, 1.0, 2.0, 3.0, 4.0} == {json.loads(letter.row_json)["value"] for letter in arrivals.letters()}
    assert 5 == appender.set_aside


def test_answers_to_an_append_that_was_given_up_are_nobody_elses(
    arrivals: Arrivals, faulty_bigquery: FaultyBigQuery, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append that ends in the midst, for whatever reason, leaves no yes behind for the next to take for its own."""
    monkeypatch.setattr("heatfleet.storage.bigquery.rows.ROWS_MAX", 1)
    with appending(faulty_bigquery.address, dataset) as appender:
        append(appender, some(1))
        connect = appender._connect

        def refuse() -> BigQueryWriteClient:
            raise SetupError("the credentials are gone")

        appender._connect = refuse
        faulty_bigquery.appends.switch = InTurn(Poison("d1"))
        with pytest.raises(StoreUnavailable, match="credentials"):
            append(appender, some(3, 1))

        appender._connect = connect
        faulty_bigquery.appends.switch = InTurn(Refused(StatusCode.PERMISSION_DENIED))
        with pytest.raises(StoreUnavailable, match="dataEditor"):
            append(appender, some(1, 9))

    assert 9.0 not in {one.value for one in arrivals.readings()}


@pytest.mark.parametrize("code", [StatusCode.PERMISSION_DENIED, StatusCode.NOT_FOUND])
@pytest.mark.parametrize("fault", [Refused, AnsweredWithError])
def test_a_poison_row_that_cannot_be_kept_is_not_answered_for(
    arrivals: Arrivals,
    appender: Appender,
    faulty_bigquery: FaultyBigQuery,
    fault: type[Refused | AnsweredWithError],
    code: StatusCode,
) -> None:
    """Without its dead letter an append has failed; once there is one, the same append succeeds."""
    faulty_bigquery.appends.switch = InTurn(Poison("d1"), fault(code, "no"))

    with pytest.raises(StoreUnavailable):
        append(appender, some(3))

    assert 0 == appender.set_aside
    assert [] == arrivals.letters()

    faulty_bigquery.appends.switch = InTurn(Poison("d1"))
    append(appender, some(3))

    assert {some(3)[0], some(3)[2]} == set(arrivals.readings())
    assert 1 == len(arrivals.letters())
