"""POST /pubsub/push: what is taken, what is refused, and what a refusal means to Pub/Sub."""

import base64
import gzip
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.pushes import PATH, envelope, push, slug
from tests.serving import SEED_MESSAGE, RunningServer, blocked_store, message, ndjson

GOOD = json.dumps(message("d1")).encode()
BAD = message("d2", {"code": "instant_power", "time": 1_732_631_573_782, "value": -1})
MANY = ndjson(*(message(f"many-{number}") for number in range(1000)))


@pytest.mark.parametrize("wrapped", [True, False], ids=["envelope", "unwrapped"])
@pytest.mark.parametrize(
    ("data", "readings"),
    [
        (SEED_MESSAGE, 1),
        (GOOD, 1),
        (b"\n " + json.dumps([message("d1"), message("d2")]).encode(), 2),
        (json.dumps([message("d1"), message("d2")], indent=2).encode(), 2),
        (ndjson(message("d1"), message("d2"), message("d3")), 3),
        (ndjson(message("d1"), message("d2")).replace(b"\n", b" \r\n\r\n"), 2),
        (MANY, 1000),
        (b"[]", 0),
        (json.dumps(message("d1", {"code": "mode", "value": "}\n{"})).encode(), 0),
    ],
    ids=["indented", "one", "array", "indented array", "lines", "spaced lines", "large", "empty array", "nothing kept"],
)
def test_what_the_message_route_takes_is_taken(
    shared_server: RunningServer, data: bytes, readings: int, wrapped: bool
) -> None:
    """One message, an array or lines, with the envelope of Pub/Sub or without: 204, and the readings are on disk."""
    before = shared_server.metric("heatfleet_readings_total")
    answer = push(shared_server, envelope(data) if wrapped else data)

    assert (204, b"") == (answer.status_code, answer.content)
    assert readings == shared_server.metric("heatfleet_readings_total") - before


def test_what_is_answered_for_is_stored(server: RunningServer) -> None:
    """The next rollup finds what was pushed, once however often it is delivered."""
    for _ in range(3):
        assert 204 == push(server, envelope(GOOD)).status_code
    server.rollup()

    assert 1000.0 == server.client.get("/devices/d1").json()["power_w"]
    assert {"2024-11-26": {"14:00": 452, "15:00": 548}} == server.client.get("/report").json()


REFUSED: dict[str, tuple[bytes | dict[str, Any], tuple[int, str], str]] = {
    "no JSON": (b"nonsense", (400, "broken-json"), ""),
    "nothing": (b"", (400, "broken-json"), ""),
    "not UTF-8": (b'{"message": "\xff"}', (400, "broken-json"), ""),
    "deep": (b'{"message": ' + b"[" * 50_000, (400, "broken-json"), ""),
    "deep, unread": (b'{"message": {"data": "e30=", "x": ' + b"[" * 9_000 + b"}}", (400, "broken-json"), ""),
    "a number": (b"7", (422, "bad-field"), ""),
    "an empty object": ({}, (400, "foreign-biz-code"), "/bizCode"),
    "message is no object": ({"message": [1]}, (422, "bad-field"), "/message"),
    "no data": ({"message": {"attributes": {"a": "b"}}}, (422, "bad-field"), "/message/data"),
    "data is null": ({"message": {"data": None}}, (422, "bad-field"), "/message/data"),
    "data is no text": ({"message": {"data": 7}}, (422, "bad-field"), "/message/data"),
    "data is not base64": ({"message": {"data": "a?b-"}}, (422, "bad-field"), "/message/data"),
    "data is cut short": ({"message": {"data": "eyJ"}}, (422, "bad-field"), "/message/data"),
    "data is empty": (envelope(b""), (400, "broken-json"), ""),
    "data is no JSON": (envelope(b"hello"), (400, "broken-json"), ""),
    "data is packed": (envelope(gzip.compress(GOOD)), (400, "broken-json"), ""),
    "an envelope in an envelope": (
        envelope(json.dumps(envelope(GOOD)).encode()),
        (400, "foreign-biz-code"),
        "/bizCode",
    ),
    "another kind": (envelope(b'{"bizCode": "deviceOnline"}'), (400, "foreign-biz-code"), "/bizCode"),
    "a bad value": (envelope(json.dumps(BAD).encode()), (422, "bad-value"), "/bizData/properties/0/value"),
    "lines, one of them cut": (envelope(ndjson(message("d1"))[:-4] + b"\n"), (400, "broken-json"), ""),
    "a long message": (envelope(GOOD.ljust(256 * 1024 + 1)), (413, "too-large"), ""),
    "too many messages": (envelope(b"[" + b"0," * 10_000 + b"0]"), (413, "too-large"), ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused(shared_server: RunningServer, case: str) -> None:
    """Never 2xx, so Pub/Sub keeps it for the dead-letter topic; never 5xx; the metric names the problem."""
    content, problem, pointer = REFUSED[case]
    counter = f'heatfleet_rejected_total{{reason="{problem[1]}"}}'
    before = shared_server.metric(counter)
    answer = push(shared_server, content)

    assert problem == slug(answer)
    assert pointer == answer.json()["pointer"]
    assert shared_server.metric(counter) == before + 1


def test_of_a_mixed_batch_the_good_are_stored_and_the_bad_named(server: RunningServer) -> None:
    """It is refused all the same, as part of it is not on disk; coming again it changes nothing."""
    assert (422, "all-rejected") == slug(push(server, envelope(ndjson(BAD, BAD))))
    data = ndjson(message("d1"), BAD, message("d3"))
    for attempt in range(1, 4):
        answer = push(server, envelope(data))

        assert (422, "partly-rejected") == slug(answer)
        [rejected] = answer.json()["rejected"]
        assert (1, "/problems/bad-value") == (rejected["index"], rejected["type"])
        assert "/bizData/properties/0/value" == rejected["pointer"]
        assert 2 * attempt == server.metric("heatfleet_messages_total")
    server.rollup()

    known = [device["device_id"] for device in server.client.get("/devices").json()["devices"]]
    assert ["d1", "d3"] == known


def test_headers_are_held_to(shared_server: RunningServer) -> None:
    """JSON as it is: no other type, no compression, no other method."""
    for headers, problem in (
        ({"Content_Type": "text/plain"}, (415, "unsupported-type")),
        ({"Content_Type": "application/x-www-form-urlencoded"}, (415, "unsupported-type")),
        ({"Content_Type": "application/json; charset=latin-1"}, (415, "unsupported-type")),
        ({"Content_Encoding": "gzip"}, (415, "unsupported-encoding")),
    ):
        assert problem == slug(push(shared_server, envelope(GOOD), **headers))
    assert 204 == push(shared_server, envelope(GOOD), Content_Type="application/json;  charset=utf-8").status_code
    assert (405, "method-not-allowed") == slug(shared_server.client.get(PATH))


def test_a_push_may_be_as_long_as_a_batch_in_base64(shared_server: RunningServer) -> None:
    """8 MiB of data are taken, a byte more is not: announced or in pieces, and also what is longer by far."""
    batch = (b"[" + GOOD + b"]").ljust(8 * 1024 * 1024)
    chunked = {"Content-Type": "application/json"}

    assert 204 == push(shared_server, envelope(batch)).status_code
    assert (413, "too-large") == slug(push(shared_server, envelope(batch + b" ")))
    for size in (9_500_000, 10_000_000):
        body = json.dumps(envelope(batch.ljust(size))).encode()

        assert (413, "too-large") == slug(push(shared_server, body))
        pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
        assert (413, "too-large") == slug(shared_server.client.post(PATH, content=pieces, headers=chunked))


def test_a_store_that_does_not_answer_lets_pubsub_come_again(server: RunningServer) -> None:
    """503 with Retry-After while the disk is blocked, 204 afterwards; nothing was counted as taken meanwhile."""
    server.expect_errors = True
    with blocked_store(server):
        refused = push(server, envelope(GOOD))

        assert 503 == refused.status_code
        assert slug(refused)[1] in ("store-unavailable", "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        assert 0 == server.metric("heatfleet_messages_total")
    assert 204 == push(server, envelope(GOOD)).status_code
    assert 1 == server.metric("heatfleet_messages_total")


def test_pushes_leave_half_of_the_queue_to_others(start_server: Callable[..., RunningServer]) -> None:
    """A backlog that is pushed at once is told to come again, while what devices post themselves is accepted."""
    server = start_server(queue_readings_max=100)
    server.expect_errors = True
    forty = envelope(json.dumps([message("d1")] * 40).encode())

    def is_queued() -> bool:
        return server.metric("heatfleet_queue_readings") == 40

    for _ in range(20):  # a slow machine may find the disk called stuck, which is refused in other words
        with ThreadPoolExecutor(2) as pool, blocked_store(server):
            first = pool.submit(push, server, forty)
            while not first.done() and not is_queued():
                time.sleep(0.01)
            refused = push(server, forty)
            device = pool.submit(server.post, message("d1"))
        assert device.result().status_code in (200, 503)
        if refused.status_code == 429:
            break

    assert (429, "over-limit") == slug(refused)
    assert int(refused.headers["Retry-After"]) > 0


def test_base64_may_have_line_ends_or_not_but_must_be_whole(shared_server: RunningServer) -> None:
    """Standard base64 with its padding, as Pub/Sub sends it, whatever the data."""
    for size in range(4):
        padded = GOOD + b" " * size
        told = {"message": {"data": base64.b64encode(padded).decode()}}

        assert 204 == push(shared_server, told).status_code
