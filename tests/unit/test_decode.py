"""The fast way and the definition read the same bytes alike."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.api import decode
from heatfleet.api.decode import decode_message
from heatfleet.domain.messages import POWER, TEMPERATURE, PlainReading, Reading, read_message
from heatfleet.errors import BadMessage
from heatfleet.storage.block import Block
from tests.serving import SEED_MESSAGE, message
from tests.unit.any_message import NOW_MS, OLDEST_MS, messages, nearly_good


def verdict_of_definition(body: bytes) -> list[Reading] | tuple[str, str]:
    """What the definition says of these bytes, by the plain decoder."""
    try:
        return read_message(msgspec.json.decode(body), NOW_MS, OLDEST_MS)
    except BadMessage as error:
        return error.kind, error.pointer
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "broken-json", ""


def verdict(body: bytes) -> Sequence[PlainReading] | Block | tuple[str, str]:
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
    fast = decode._read_typed(decode.decode_typed(SEED_MESSAGE), NOW_MS, 0)

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

    assert decode.Batch([Reading("d1", "p1", TEMPERATURE, NOW_MS, 19.0)], 1, 2, ()) == read
