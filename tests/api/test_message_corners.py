"""POST /message: JSON at its corners is answered alike, alone and in a batch, and never with a 5xx."""

import json

import pytest

from tests.serving import RunningServer, message

GOOD = json.dumps(message("d1", {"code": "instant_power", "time": 1_732_631_573_782, "value": "@"})).encode()

CORNERS = {
    "NaN": (b"NaN", 400),
    "Infinity": (b"-Infinity", 400),
    "1e999": (b"1e999", 400),
    "2^63": (b"9223372036854775808", 422),
    "10^400": (b"1" + b"0" * 400, 422),
    "10^5000": (b"1" + b"0" * 5000, 400),
    "1e-999": (b"1e-999", 200),
    "minus zero": (b"-0.0", 200),
    "true": (b"true", 422),
    "text": (b'"1000"', 422),
    "leading zero": (b"01", 400),
    "plus": (b"+1", 400),
    "hexadecimal": (b"0x10", 400),
    "comment": (b"1/* */", 400),
    "escaped NUL": (rb'"\u0000"', 422),
    "raw NUL": (b'"\0"', 400),
    "lone surrogate": (rb'"\ud800"', 400),
    "bad UTF-8": (b'"\xff"', 400),
    "overlong UTF-8": (b'"\xc0\x80"', 400),
    "depth 50": (b"[" * 50 + b"]" * 50, 422),
    "depth 65": (b"[" * 65 + b"]" * 65, 400),
    "depth 100000": (b"[" * 100_000 + b"]" * 100_000, 400),
    "objects 20000 deep": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, 400),
}


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("place", ["value", "foreign value", "unknown field"])
def test_corners_of_json(shared_server: RunningServer, corner: str, place: str) -> None:
    """What is no JSON is 400, what is no power is 422; where any JSON may stand, any JSON is taken."""
    odd, status = CORNERS[corner]
    body = GOOD.replace(b'"@"', odd)
    if place == "foreign value":
        body = body.replace(b"instant_power", b"mode")
    elif place == "unknown field":
        body = GOOD.replace(b'"@"', b'1, "other": ' + odd)
    expected = 200 if status == 422 and place != "value" else status
    single = shared_server.post(body)
    array = shared_server.post(b"[" + body + b"]")
    line = shared_server.post(body + b"\n", Content_Type="application/x-ndjson")

    assert expected == single.status_code
    assert {200: 200, 422: 422, 400: 422}[expected] == line.status_code
    # Of an array it depends on what is broken: the array, or the item in it.
    assert array.status_code in {200: (200,), 422: (422,), 400: (400, 422)}[expected]
    if line.status_code == 422:
        assert single.json()["type"] == line.json()["rejected"][0]["type"]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + GOOD.replace(b'"@"', b"1"),
        GOOD.replace(b'"@"', b"1").decode().encode("utf-16"),
        GOOD.replace(b'"@"', b"1") + b"}",
        GOOD.replace(b'"@"', b"1") + b" {}",
        GOOD.replace(b'"@"', b"1") + b"\0",
        b"\xff",
        b"'a'",
        b"hello",
        b"<xml/>",
    ],
)
def test_what_is_around_the_json_counts(shared_server: RunningServer, body: bytes) -> None:
    """A byte order mark, another encoding, or anything after the end is not JSON."""
    answer = shared_server.post(body)

    assert 400 == answer.status_code
    assert "/problems/broken-json" == answer.json()["type"]
