"""What an adversary found at the HTTP door."""

import gzip
import json

import pytest

from tests.door.wire import Wire, request
from tests.serving import RunningServer, message

KIB = 1024


@pytest.mark.parametrize("cursor", ["f" * 12, "f" * 15, "f" * 400, "A" * 11 + "fffff"])
def test_a_cursor_longer_than_ours(shared_server: RunningServer, cursor: str) -> None:
    """A cursor of more than eight bytes is 422 as any other made-up one, not 500."""
    assert 422 == shared_server.client.get(f"/devices?after={cursor}").status_code


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_may_have_256_kib_without_its_end(shared_server: RunningServer, end: bytes) -> None:
    """The line break is not part of the message."""
    body = json.dumps(message() | {"pad": ""}).encode()
    body = json.dumps(message() | {"pad": "x" * (256 * KIB - len(body))}).encode()
    assert 256 * KIB == len(body)
    assert 200 == shared_server.post(body).status_code
    assert 200 == shared_server.post(body + end, Content_Type="application/x-ndjson").status_code


def test_depth_is_judged_alike_in_every_form(shared_server: RunningServer) -> None:
    """How deep a message may be does not hang on how it came."""
    for depth in range(970, 1000):
        odd = b"[" * depth + b"]" * depth
        body = json.dumps(message("d1", {"code": "mode", "value": "@"})).encode().replace(b'"@"', odd)
        taken = {
            shared_server.post(body).is_success,
            shared_server.post(b"[" + body + b"]").is_success,
            shared_server.post(body + b"\n", Content_Type="application/x-ndjson").is_success,
            shared_server.post(gzip.compress(body), Content_Encoding="gzip").is_success,
            shared_server.post(body + b" " * 70_000).is_success,
        }
        assert 1 == len(taken), depth


@pytest.mark.parametrize(
    "body",
    [
        b'{"device_id":"a","switch":true,"x":NaN}',
        b'\xef\xbb\xbf{"device_id":"a","switch":true}',
        '{"device_id":"a","switch":true}'.encode("utf-16"),
    ],
    ids=["NaN", "BOM", "UTF-16"],
)
def test_send_takes_the_same_json_as_message(shared_server: RunningServer, body: bytes) -> None:
    """What `/problems/broken-json` says of JSON is true of POST /send too."""
    answer = shared_server.client.post("/send", content=body, headers={"Content-Type": "application/json"})
    assert 400 == answer.status_code


def test_who_hangs_up_within_a_body_leaves_no_trace(server: RunningServer) -> None:
    """Half a request is nobody's mistake but the caller's: nothing counts as failed, and the log stays empty."""
    for method, path in (("POST", "/send"), ("GET", "/report"), ("POST", "/message"), ("GET", "/nothing")):
        head = request(method=method, path=path, Content_Length="1000", Content_Type="application/json")
        with Wire(server) as wire:
            wire.send(head, b'{"device_id":')
            server.client.get("/livez")

    assert 200 == server.client.get("/livez").status_code
    assert ["listening"] == [line["event"] for line in server.log()]
    assert 'status="500"' not in server.client.get("/metrics").text


def test_a_report_has_no_use_for_a_body(server: RunningServer) -> None:
    """A small one is thrown away, a large one refused as on any other route; the next request is served."""
    with Wire(server) as wire:
        for size, statuses in ((1000, {200}), (100_000, {200, 413})):
            for _ in range(5):
                assert wire.send(request(b"x" * size, method="GET", path="/report")).answer().status in statuses

    assert ["listening"] == [line["event"] for line in server.log()]
