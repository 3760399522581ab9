"""POST /message: many messages at once."""

import json
from typing import Any

import pytest

from tests.serving import RunningServer, message, ndjson

NDJSON_TYPES = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-ndjson; charset=utf-8",
]


def post_lines(server: RunningServer, content: bytes, content_type: str = NDJSON_TYPES[0]) -> Any:
    """POST /message with one message on each line."""
    return server.post(content, Content_Type=content_type)


def test_a_good_array(server: RunningServer) -> None:
    """All messages of an array are stored by one request, and found by the rollup."""
    answer = server.post([message(f"d{number}") for number in range(1000)])

    assert b'{"status":"ok","inserted":1000}' == answer.content
    assert 1000 == server.rollup().readings


@pytest.mark.parametrize("content_type", NDJSON_TYPES)
def test_good_lines(shared_server: RunningServer, content_type: str) -> None:
    """One message on each line is taken under each of the format's names."""
    answer = post_lines(shared_server, ndjson(*(message(f"d{number}") for number in range(3))), content_type)

    assert b'{"status":"ok","inserted":3}' == answer.content


def test_the_good_are_stored_and_the_bad_are_named(server: RunningServer) -> None:
    """A partly bad batch gives 200, the number stored, and for each bad message what is wrong and where."""
    batch = [message("d1"), message("d 2"), message("d3"), 7, message("d5")]
    expected = {
        "status": "partial",
        "inserted": 3,
        "rejected": [
            {
                "index": 1,
                "type": "/problems/bad-id",
                "detail": "devId must be 1 to 64 characters of A-Z a-z 0-9 . _ : -",
                "pointer": "/bizData/devId",
            },
            {"index": 3, "type": "/problems/bad-field", "detail": "a message must be a JSON object", "pointer": ""},
        ],
    }
    array = server.post(batch)
    lines = post_lines(server, b"\n".join(json.dumps(item).encode() for item in batch))

    assert (200, expected) == (array.status_code, array.json())
    assert (200, expected) == (lines.status_code, lines.json())
    server.rollup()
    assert ["d1", "d3", "d5"] == [device["device_id"] for device in server.client.get("/devices").json()["devices"]]


def test_an_all_bad_batch_is_refused(server: RunningServer) -> None:
    """When no message is good, the answer is 422 with all of them named, and nothing is stored."""
    answer = server.post([message("d 1"), {}])

    assert 422 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert "/problems/all-rejected" == answer.json()["type"]
    assert [(0, "/problems/bad-id"), (1, "/problems/foreign-biz-code")] == [
        (item["index"], item["type"]) for item in answer.json()["rejected"]
    ]
    assert 0 == server.rollup().readings


def test_an_empty_batch_is_fine(shared_server: RunningServer) -> None:
    """No messages, nothing to store, no error."""
    assert b'{"status":"ok","inserted":0}' == shared_server.post(b" [ ] ").content
    assert b'{"status":"ok","inserted":0}' == post_lines(shared_server, b"").content
    assert b'{"status":"ok","inserted":0}' == post_lines(shared_server, b"\r\n\n  \n").content


def test_a_broken_array_is_refused_whole(server: RunningServer) -> None:
    """An array cut short is no JSON: 400, and none of its messages is stored."""
    answer = server.post(json.dumps([message("d1"), message("d2")]).encode()[:-3])

    assert 400 == answer.status_code
    assert "/problems/broken-json" == answer.json()["type"]
    assert 0 == server.rollup().readings


def test_a_broken_line_is_one_bad_message(shared_server: RunningServer) -> None:
    """A line that is no JSON is named; the lines around it are stored."""
    body = ndjson(message("d1")) + b'{"bizCode":\n\n' + ndjson(message("d3"))
    answer = post_lines(shared_server, body)

    assert (200, 2) == (answer.status_code, answer.json()["inserted"])
    assert [(1, "/problems/broken-json")] == [(item["index"], item["type"]) for item in answer.json()["rejected"]]


def test_an_array_is_one_bad_line(shared_server: RunningServer) -> None:
    """A line is a message, never a batch within a batch; nor is an item of an array."""
    nested = json.dumps([message("d1")]).encode()

    assert 422 == post_lines(shared_server, nested).status_code
    assert 422 == shared_server.post(b"[" + nested + b"]").status_code


def test_repeating_a_batch_changes_nothing(server: RunningServer) -> None:
    """The same batch twice gives the same answer, and the same figures as once."""
    batch = [
        message("d1", {"code": "instant_power", "time": 1_732_631_573_782 + 1000 * n, "value": n}) for n in range(9)
    ]
    answers = [server.post(batch).content for _ in range(2)]
    server.rollup()
    once = server.client.get("/devices/d1").json()
    server.post(batch)
    server.rollup()

    assert [b'{"status":"ok","inserted":9}'] * 2 == answers
    assert once == server.client.get("/devices/d1").json()
