"""POST /message: JSON at its corners is answered alike, alone and in a batch, and never with a 5xx."""

import gzip
import json

import pytest

from heatfleet.api.decode import decode_message
from heatfleet.storage.block import Block
from tests.doc_pages import Page
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


POWER = GOOD.replace(b'"@"', b"1")
TIME = b"1732631573782"
_, _, *LINES = (line for line in Page("docs/reference/http.md").section("Odd JSON").splitlines() if line[:1] == "|")
ROWS = {what: (answer, in_array) for _, what, answer, in_array, _ in (map(str.strip, one.split("|")) for one in LINES)}
# What each row of the documentation means: messages that hold one such oddity each.
ODD = {
    "`NaN`, `Infinity`, `-Infinity`": [GOOD.replace(b'"@"', odd) for odd in (b"NaN", b"Infinity", b"-Infinity")],
    "`1e999`: a number too large for any": [GOOD.replace(b'"@"', b"1e999"), GOOD.replace(b'"@"', b"-1e999")],
    "a whole number of 5,000 digits": [GOOD.replace(b'"@"', b"1" + b"0" * 5000)],
    "`9223372036854775808` as a value": [GOOD.replace(b'"@"', b"9223372036854775808")],
    "`9223372036854775808` as a time": [POWER.replace(TIME, b"9223372036854775808")],
    "`1732631573782.0` as a time": [POWER.replace(TIME, TIME + b".0")],
    "`-0`": [GOOD.replace(b'"@"', b"-0"), GOOD.replace(b'"@"', b"-0.0")],
    "`1e-999`": [GOOD.replace(b'"@"', b"1e-999")],
    "`01`, `+1`, `1.`, `0x10`": [GOOD.replace(b'"@"', odd) for odd in (b"01", b"+1", b"1.", b"0x10")],
    "`true` as a value": [GOOD.replace(b'"@"', b"true")],
    '`"1000"` as a value': [GOOD.replace(b'"@"', b'"1000"')],
    "`null` as a value": [GOOD.replace(b'"@"', b"null")],
    "100,000 arrays within each other": [GOOD.replace(b'"@"', b"[" * 50_000 + b"]" * 50_000), b"[" * 100_000],
    "65 arrays within each other": [GOOD.replace(b'"@"', b"[" * 65 + b"]" * 65)],
    "a key twice in an object": [
        GOOD.replace(b'"@"', b'7, "value": 1'),
        GOOD.replace(b'"@"', b'true, "value": 1'),
        POWER.replace(b'"devId"', b'"devId": "d2", "devId"'),
        POWER.replace(b'"bizData"', b'"bizData": {"devId": 7}, "bizData"'),
    ],
    "an empty key": [POWER.replace(b'"devId"', b'"": 7, "devId"'), b'{"": [], ' + POWER[1:]],
    "`\\u0000` in an id": [POWER.replace(b'"d1"', rb'"d\u00001"')],
    "a control character in a text, not escaped": [POWER.replace(b'"d1"', b'"d%c1"' % odd) for odd in (0, 10, 27, 31)],
    "`\\ud800`: half a surrogate pair": [POWER.replace(b'"d1"', odd) for odd in (rb'"\ud800"', rb'"\udc00\ud800"')],
    "bytes that are not UTF-8": [POWER.replace(b'"d1"', odd) for odd in (b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"')],
    "a byte order mark": [b"\xef\xbb\xbf" + POWER],
    "anything after the end": [POWER + odd for odd in (b"}", b" {}", b"\0", b",")],
    "UTF-16": [POWER.decode().encode("utf-16")],
}
NDJSON = "application/x-ndjson"


def verdict(server: RunningServer, body: bytes, **headers: str) -> tuple[int, str, int]:
    """The status, the problem of the request or of the message in it that is refused, and what was stored."""
    answer = server.post(body, **headers)
    told = answer.json()
    [refused] = told.get("rejected", [told])
    return answer.status_code, refused.get("type", "").removeprefix("/problems/"), told.get("inserted", 0)


def test_every_documented_corner_is_tried() -> None:
    """The table of the documentation and the one above have the same rows."""
    assert ROWS.keys() == ODD.keys()


@pytest.mark.parametrize("row", ODD)
def test_odd_json_is_answered_as_documented(shared_server: RunningServer, row: str) -> None:
    """Alone, in an array and on a line, small, large and compressed: one answer, the one of the documentation."""
    answer, in_array = ROWS[row]
    status, _, slug = answer.partition(",")[0].replace("`", "").partition(" ")
    alone = int(status), slug, int(status == "200")
    beside_a_good_one = 200, slug, 2 if status == "200" else 1
    within_an_array = (400, slug, 0) if in_array == "all" else beside_a_good_one
    for body in ODD[row]:
        array = b"[" + POWER + b"," + body + b"]"
        # A line break within a message ends it: what is before and after it is no message.
        lines = POWER + b"\n" + body.replace(b"\n", b"\t") + b"\n"
        for large in (b"", b"\n" * 70_000):
            assert alone == verdict(shared_server, body + large)
            assert within_an_array == verdict(shared_server, array + large)
            assert beside_a_good_one == verdict(shared_server, lines + large, Content_Type=NDJSON)
        assert alone == verdict(shared_server, gzip.compress(body), Content_Encoding="gzip")


@pytest.mark.parametrize("row", ["`-0`", "`1e-999`", "a key twice in an object", "an empty key"])
def test_odd_json_that_is_taken_counts_as_documented(row: str) -> None:
    """A zero without its sign, the last of two keys, and nothing of an empty one."""
    expected = "0.0" if "is 0" in ROWS[row][0] else "1.0"
    for body in ODD[row]:
        readings = decode_message(body, 1_768_068_000_000).readings
        assert not isinstance(readings, Block)
        [(device_id, product_id, _, time_ms, value)] = readings

        assert ("d1", "p1", TIME.decode(), expected) == (device_id, product_id, str(time_ms), str(value))
