"""POST /message: the answers, one message at a time."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from tests.serving import SEED_MESSAGE, RunningServer, message

POWER = {"code": "instant_power", "time": 1_732_631_573_782, "value": 1000}


def now_ms() -> int:
    """The time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def test_the_seed_is_answered_to_the_letter(shared_server: RunningServer) -> None:
    """The original's example gives the original's answer: these keys, in this order, and no others."""
    for _ in range(2):
        answer = shared_server.post(SEED_MESSAGE)

        assert 200 == answer.status_code
        assert "application/json" == answer.headers["content-type"]
        assert b'{"status":"ok","inserted":1}' == answer.content


def test_what_is_answered_for_is_stored(server: RunningServer) -> None:
    """Every reading of an answered message is found by the next rollup."""
    server.post(message("d1", POWER, {"code": "temp_interior", "time": 1_732_631_573_000, "value": 19.5}))

    assert 2 == server.rollup().readings
    assert 1000.0 == server.client.get("/devices/d1").json()["power_w"]


def test_foreign_codes_are_dropped(shared_server: RunningServer) -> None:
    """Only the two known codes are inserted; others may have any value and time."""
    told = message("d1", {"code": "mode", "time": "now", "value": {"eco": [True, None]}}, POWER, {"code": "x"})

    assert {"status": "ok", "inserted": 1} == shared_server.post(told).json()


def test_a_message_without_readings_is_fine(shared_server: RunningServer) -> None:
    """A message of which nothing is kept is a good message."""
    told = message("d1", {"code": "mode", "value": "eco"})

    assert {"status": "ok", "inserted": 0} == shared_server.post(told).json()


def test_the_messages_time_stands_in(shared_server: RunningServer) -> None:
    """A property without time takes the message's ts; without either it is refused."""
    bare = {"code": "instant_power", "value": 5}

    assert 200 == shared_server.post(message("d1", bare, ts=now_ms())).status_code

    answer = shared_server.post(message("d1", bare))

    assert 422 == answer.status_code
    assert ("/problems/bad-time", "/ts") == (answer.json()["type"], answer.json()["pointer"])


@pytest.mark.parametrize(
    ("content", "status", "slug", "pointer"),
    [
        (b"", 400, "broken-json", ""),
        (b"{", 400, "broken-json", ""),
        (message() | {"bizCode": "deviceOnline"}, 400, "foreign-biz-code", "/bizCode"),
        ({}, 400, "foreign-biz-code", "/bizCode"),
        (b"5", 422, "bad-field", ""),
        (b"null", 422, "bad-field", ""),
        ({"bizCode": "devicePropertyMessage"}, 422, "bad-field", "/bizData"),
        (message("d 1"), 422, "bad-id", "/bizData/devId"),
        (message("x" * 65), 422, "bad-id", "/bizData/devId"),
        (message("d1\n"), 422, "bad-id", "/bizData/devId"),
        (message("d1", POWER | {"value": "5"}), 422, "bad-value", "/bizData/properties/0/value"),
        (message("d1", POWER, POWER | {"value": -1}), 422, "bad-value", "/bizData/properties/1/value"),
        (message("d1", POWER | {"value": None}), 422, "bad-value", "/bizData/properties/0/value"),
        (message("d1", POWER | {"time": 1_732_631_573}), 422, "bad-time", "/bizData/properties/0/time"),
        (message("d1", POWER | {"time": 1.7e12}), 422, "bad-time", "/bizData/properties/0/time"),
        (message("d1", POWER | {"time": 2**62}), 422, "bad-time", "/bizData/properties/0/time"),
        (message("d1", {"time": 1_732_631_573_782}), 422, "bad-field", "/bizData/properties/0/code"),
    ],
)
def test_a_bad_message_is_refused_by_place(
    shared_server: RunningServer, content: bytes | dict[str, Any], status: int, slug: str, pointer: str
) -> None:
    """A single bad message gives 400 or 422, a problem document that points at the place, and stores nothing."""
    stored = shared_server.metric("heatfleet_readings_total")
    answer = shared_server.post(content)

    assert status == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert {"type", "title", "status", "detail", "pointer"} == set(answer.json())
    assert f"/problems/{slug}" == answer.json()["type"]
    assert (status, pointer) == (answer.json()["status"], answer.json()["pointer"])
    assert stored == shared_server.metric("heatfleet_readings_total")


def test_a_message_is_all_or_nothing(server: RunningServer) -> None:
    """One bad property keeps the good ones of its message out too."""
    server.post(message("d1", POWER, POWER | {"value": 1e6}))

    assert 0 == server.rollup().readings


def test_a_refusal_never_repeats_what_was_sent(shared_server: RunningServer) -> None:
    """A secret put anywhere into a message is not in the answer, whatever is wrong with the message."""
    secret = "hunter2"
    for content in (
        message(f"{secret} "),
        message() | {"bizCode": secret},
        message("d1", POWER | {"value": secret}),
        message("d1", POWER | {"time": secret}),
        [message(f"{secret} ")],
        [secret],
        secret.encode(),
        b'{"' + secret.encode() + b'": tru}',
        b'"\xff' + secret.encode() + b'"',
    ):
        answer = shared_server.post(content)

        assert answer.is_client_error
        assert secret not in answer.text
        assert secret not in str(answer.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_allowed(shared_server: RunningServer, method: str) -> None:
    """Any other method gives 405 and names POST."""
    answer = shared_server.client.request(method, "/message")

    assert 405 == answer.status_code
    assert "POST" == answer.headers["allow"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        None,
    ],
)
def test_json_is_taken_with_or_without_its_name(shared_server: RunningServer, content_type: str | None) -> None:
    """JSON's own type is taken however it is written, and so is a body without a type."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = shared_server.client.post("/message", content=SEED_MESSAGE, headers=headers)

    assert 200 == answer.status_code


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin-1", "json", ""]
)
def test_other_types_are_refused_with_the_header_to_set(shared_server: RunningServer, content_type: str) -> None:
    """What curl sends by default is refused with the words that mend it."""
    answer = shared_server.post(SEED_MESSAGE, Content_Type=content_type)

    assert 415 == answer.status_code
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_unknown_fields_and_order_do_not_matter(shared_server: RunningServer) -> None:
    """Unknown fields anywhere are ignored, and a query string too."""
    told = message("d1", POWER | {"quality": 3}, vendor={"x": 1}, dataId="A")
    told["bizData"]["site"] = None

    assert 200 == shared_server.post(dict(reversed(told.items()))).status_code
    assert 200 == shared_server.client.post("/message?x=1", json=told).status_code


def test_the_last_of_equal_keys_counts(shared_server: RunningServer) -> None:
    """As in most JSON readers, of two equal keys the last one counts; on every path alike."""
    twice = json.dumps(message()).replace('"value": 1000', '"value": "x", "value": 5').encode()
    bad = json.dumps(message()).replace('"value": 1000', '"value": 5, "value": "x"').encode()

    assert 200 == shared_server.post(twice).status_code
    assert 422 == shared_server.post(bad).status_code
    assert {"status": "ok", "inserted": 1} == shared_server.post(b"[" + twice + b"]").json()
    assert 422 == shared_server.post(b"[" + bad + b"]").status_code


def test_a_reading_older_than_what_is_kept_is_refused(start_server: Callable[..., RunningServer]) -> None:
    """Alone and in a batch, with a time of its own or the message's: it could not be counted any more."""
    server = start_server(retention_days=2)
    old_ms = now_ms() - 2 * DAY_MS - 1
    alone = server.post(message("d1", POWER | {"time": old_ms}))
    by_message = server.post(message("d1", {"code": "instant_power", "value": 1}, ts=old_ms, note="not the fast way"))
    batch = server.post([message("d1", POWER | {"time": time_ms}) for time_ms in (old_ms, old_ms + HOUR_MS)])

    assert (422, "/problems/too-old") == (alone.status_code, alone.json()["type"])
    assert "/bizData/properties/0/time" == alone.json()["pointer"]
    assert ("/problems/too-old", "/ts") == (by_message.json()["type"], by_message.json()["pointer"])
    assert 1 == batch.json()["inserted"]
    assert ["/problems/too-old"] == [rejected["type"] for rejected in batch.json()["rejected"]]
    assert 3 == server.metric('heatfleet_rejected_total{reason="too-old"}')
