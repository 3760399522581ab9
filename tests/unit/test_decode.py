"""The fast way and the definition read the same bytes alike."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.api import decode
from heatfleet.api.decode import decode_batch, decode_message
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading, read_message
from heatfleet.domain.slots import DAY_MS
from heatfleet.errors import BadMessage
from tests.serving import SEED_MESSAGE, message, ndjson

NOW_MS = 1_768_068_000_000

text = st.text("ab\0é\u2028😀", max_size=3)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
anything: st.SearchStrategy[Any] = (
    scalar | st.lists(scalar, max_size=2) | st.dictionaries(text, scalar | st.just([{}]), max_size=2)
)
ids = st.sampled_from(["d1", "a.b_c:D-9", "x" * 64, "x" * 65, "", "é", "d 1"]) | anything
OLDEST_MS = NOW_MS - 30 * DAY_MS
times = (
    st.sampled_from(
        [NOW_MS, NOW_MS + 300_000, NOW_MS + 300_001, OLDEST_MS, OLDEST_MS - 1, 946_684_800_000, 946_684_799_999]
    )
    | anything
)
values = (
    st.sampled_from([0, -0.0, -1, 100_000, 100_000.5, 2**63, 10**400, 1e-300, True, "5", -60, 100, 100.1]) | anything
)


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object in which any of the fields may be missing."""
    return st.fixed_dictionaries({}, optional=strategies)


properties = fields(
    code=st.sampled_from(["instant_power", "temp_interior", "switch", "INSTANT_POWER"]) | anything,
    time=times,
    value=values,
    dpId=anything,
    other=anything,
)
messages = fields(
    bizCode=st.sampled_from(["devicePropertyMessage", "deviceOnline"]) | anything,
    bizData=fields(devId=ids, productId=ids, properties=st.lists(properties, max_size=3) | anything, other=anything)
    | anything,
    ts=times,
    dataId=anything,
    other=anything,
)


good_properties: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"code": "instant_power", "time": NOW_MS, "value": 5},
        {"code": "instant_power", "value": 99_999.5, "dpId": 1},
        {"code": "temp_interior", "time": NOW_MS - 1, "value": -0.0},
        {"code": "switch", "time": None, "value": {"deep": [None]}},
    ]
)


@st.composite
def nearly_good(draw: st.DrawFn) -> dict[str, Any]:
    """A good message, in which one part may be replaced."""
    told = draw(st.lists(good_properties, max_size=3))
    one = message("d1", ts=NOW_MS, dataId=draw(anything))
    data = one["bizData"] | {"properties": told}
    match draw(st.sampled_from(["nothing", "property", "data", "envelope"])):
        case "property":
            told.append({**draw(good_properties), **draw(properties)})
        case "data":
            data |= draw(fields(devId=ids, productId=ids, properties=anything, other=anything))
        case "envelope":
            one |= draw(fields(bizCode=anything, ts=times, other=anything))
    return one | {"bizData": data}


def verdict_of_definition(body: bytes) -> list[Reading] | tuple[str, str]:
    """What the definition says of these bytes, by the plain decoder."""
    try:
        return read_message(msgspec.json.decode(body), NOW_MS, OLDEST_MS)
    except BadMessage as error:
        return error.kind, error.pointer
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "broken-json", ""


def verdict(body: bytes) -> list[Reading] | tuple[str, str]:
    """What is made of these bytes."""
    try:
        return decode_message(body, NOW_MS, OLDEST_MS).readings
    except BadMessage as error:
        return error.kind, error.pointer


@given(messages | nearly_good())
def test_the_fast_way_is_the_definition(content: dict[str, Any]) -> None:
    """Whatever a message holds, both ways give equal readings or the same verdict."""
    body = json.dumps(content).encode()

    assert verdict_of_definition(body) == verdict(body)


@given(st.data())
def test_damaged_bytes_are_judged_alike(data: st.DataObject) -> None:
    """A good message with bytes cut out or put in anywhere gives the definition's verdict too."""
    body = json.dumps(message(ts=NOW_MS, dataId={"a": ["b", 1.5]})).encode()
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 3)))
    body = body[:start] + data.draw(st.binary(max_size=3)) + body[end:]

    assert verdict_of_definition(body) == verdict(body)


@pytest.mark.parametrize("place", ["message", "data", "property", "value", "dataId", "dpId"])
@pytest.mark.parametrize(
    "odd", [b'"\xff"', b'"\\ud800"', b"1e999", b"1" + b"0" * 5000, b"[" * 100_000, b"NaN", b'"\\q"', b"01"]
)
def test_what_the_decoder_skips_is_checked_too(place: str, odd: bytes) -> None:
    """No field hides bytes that are not JSON: msgspec itself would let some of these pass where it skips."""
    hidden = {
        "message": b'{"x":@,"bizCode":"devicePropertyMessage","bizData":{"devId":"d","productId":"p","properties":[]}}',
        "data": b'{"bizCode":"devicePropertyMessage","bizData":{"x":@,"devId":"d","productId":"p","properties":[]}}',
        "property": b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"d","productId":"p","properties":'
        b'[{"code":"c","x":@}]}}',
        "value": b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"d","productId":"p","properties":'
        b'[{"code":"c","value":@}]}}',
        "dataId": b'{"dataId":@,"bizCode":"devicePropertyMessage",'
        b'"bizData":{"devId":"d","productId":"p","properties":[]}}',
        "dpId": b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"d","productId":"p","properties":'
        b'[{"code":"c","dpId":@}]}}',
    }[place].replace(b"@", odd)

    assert ("broken-json", "") == verdict(hidden)


def test_the_seed_takes_the_fast_way() -> None:
    """The original's example is read, and without asking the definition."""
    fast = decode._read_typed(decode._decode_typed(SEED_MESSAGE), NOW_MS, 0)

    assert [Reading("bfadafebb608a154206aqu", "ixhko1cls7lzpwsf", POWER, 1732631573782, 2500.0)] == (
        fast.readings if fast else None
    )
    assert fast == decode_message(SEED_MESSAGE, NOW_MS)


def test_foreign_codes_are_dropped_and_counted() -> None:
    """A property with another code may hold anything, and does not count as a reading."""
    told = message(
        "d1",
        {"code": "switch", "time": {"not": "a time"}, "value": None},
        {"code": "temp_interior", "time": NOW_MS, "value": 19},
        {"code": "mode", "value": "eco"},
    )
    read = decode_message(json.dumps(told).encode(), NOW_MS)

    assert ([Reading("d1", "p1", TEMPERATURE, NOW_MS, 19.0)], 1, 2, ()) == read


def test_an_array_and_lines_are_read_alike() -> None:
    """The same messages give the same readings and verdicts in both forms, bad ones named by index."""
    batch = [message("d1"), message("d 2"), message("d3"), {"bizCode": "other"}, message("d5")]
    array = decode_batch(json.dumps(batch).encode(), NOW_MS, ndjson=False)
    lines = decode_batch(ndjson(*batch), NOW_MS, ndjson=True)

    assert ["d1", "d3", "d5"] == [reading.device_id for reading in array.readings]
    assert [(1, "bad-id"), (3, "foreign-biz-code")] == [(index, error.kind) for index, error in array.rejected]
    assert array.readings == lines.readings
    assert [(1, "bad-id"), (3, "foreign-biz-code")] == [(index, error.kind) for index, error in lines.rejected]
    assert (3, 3) == (array.messages, lines.messages)


def test_blank_lines_do_not_count() -> None:
    """An index counts lines that hold something; line ends may be CRLF, the last one may be missing."""
    body = b"\r\n".join([b"", json.dumps(message("d1")).encode(), b"  ", b"{", json.dumps(message("d2")).encode()])
    batch = decode_batch(body, NOW_MS, ndjson=True)

    assert ["d1", "d2"] == [reading.device_id for reading in batch.readings]
    assert [(1, "broken-json")] == [(index, error.kind) for index, error in batch.rejected]


def test_a_line_holds_one_message() -> None:
    """Two messages on one line, or one on two, are broken lines: an index must mean one thing."""
    one = json.dumps(message()).encode()
    batch = decode_batch(one + b" " + one + b"\n" + one[:20] + b"\n" + one[20:] + b"\n" + one, NOW_MS, ndjson=True)

    assert [(0, "broken-json"), (1, "broken-json"), (2, "broken-json")] == [
        (index, error.kind) for index, error in batch.rejected
    ]
    assert 1 == batch.messages


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[{}", b"[] x", b"[1 2]", b"[" * 100_000])
def test_a_broken_array_is_refused_whole(body: bytes) -> None:
    """When the array itself is no JSON, there are no items to name."""
    with pytest.raises(BadMessage) as caught:
        decode_batch(body, NOW_MS, ndjson=False)

    assert "broken-json" == caught.value.kind


def test_a_batch_has_ten_thousand_messages_at_most() -> None:
    """The message too many refuses the whole batch, good or bad."""
    assert 10_000 == len(decode_batch(b"1\n" * 10_000, NOW_MS, ndjson=True).rejected)
    assert 10_000 == len(decode_batch(b"[" + b"1," * 9_999 + b"1]", NOW_MS, ndjson=False).rejected)
    for body, lines in ((b"1\n" * 10_001, True), (b"[" + b"1," * 10_000 + b"1]", False)):
        with pytest.raises(BadMessage) as caught:
            decode_batch(body, NOW_MS, ndjson=lines)

        assert "too-large" == caught.value.kind


def test_a_message_in_a_batch_is_no_larger_than_one_alone() -> None:
    """A message above 256 KiB is rejected by index; the others are taken."""
    large = message("d1", note="x" * 256 * 1024)
    batch = decode_batch(json.dumps([large, message("d2")]).encode(), NOW_MS, ndjson=False)

    assert [(0, "too-large")] == [(index, error.kind) for index, error in batch.rejected]
    assert 1 == len(batch.readings)
