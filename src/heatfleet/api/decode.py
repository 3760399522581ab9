"""From bytes to readings: one message. ``batch`` does the same for many at once.

A well-formed message takes the fast way, straight into typed structs. Whatever that way does not accept, for
any reason, takes the way of the definition, ``domain.messages.read_message``, which alone gives verdicts. So there
is one set of rules, and fast is never lenient: the structs forbid unknown fields, because what msgspec skips it
does not fully check, and objects and arrays as values, because they may be nested without end.
"""

import re
from collections.abc import Sequence
from typing import Annotated, cast

import msgspec

from heatfleet.domain.access import Bounds
from heatfleet.domain.messages import (
    CODES,
    ID_LENGTH_MAX,
    TIME_AHEAD_MS,
    TIME_MIN_MS,
    VALUE_RANGES,
    BizCode,
    PlainReading,
    is_id,
    read_message,
)
from heatfleet.errors import BadMessage
from heatfleet.storage.block import Block

MESSAGE_BYTES_MAX = 256 * 1024
DEPTH_MAX = 64
"""Objects and arrays within each other; what the decoder itself can take hangs on how it was called."""

_Scalar = float | int | str | bool | None
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH_MAX)]


class Property(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A property as most are sent."""

    code: str
    time: int | None = None
    value: _Scalar = None
    dpId: _Scalar = None  # noqa: N815  # the wire's own names


class Data(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A device's properties, likewise."""

    devId: _Id  # noqa: N815
    productId: _Id  # noqa: N815
    properties: list[Property]
    dataId: _Scalar = None  # noqa: N815


class Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An envelope, likewise."""

    bizCode: BizCode  # noqa: N815
    bizData: Data  # noqa: N815
    ts: int | None = None
    dataId: _Scalar = None  # noqa: N815


decode_typed = msgspec.json.Decoder(Message).decode
_decode_any = msgspec.json.Decoder().decode

_KEPT = {name: (code, *VALUE_RANGES[code]) for name, code in CODES.items()}
"""What is kept, by the name on the wire: its number and the bounds of its values."""

# One that is not closed reaches to the end, or else the time for many of them would grow squared.
_strings = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that the decoder raises about bytes: only the first is of its own kind."""


class Batch(msgspec.Struct, gc=False):
    """What a request held: all readings of its ``messages`` good ones, and each bad one with its index."""

    readings: Sequence[PlainReading] | Block
    messages: int
    dropped: int
    rejected: Sequence[tuple[int, BadMessage]]


def decode_message(body: bytes, now_ms: int, oldest_ms: int = TIME_MIN_MS, bounds: Bounds | None = None) -> Batch:
    """A batch of one message, which is good; ``oldest_ms`` is never before ``TIME_MIN_MS``.

    Raises ``BadMessage``: ``broken-json``, ``too-large``, what ``read_message`` finds, or ``foreign-device`` for one
    out of bounds.
    """
    if len(body) > MESSAGE_BYTES_MAX:
        raise BadMessage("too-large", f"a message may have {MESSAGE_BYTES_MAX // 1024} KiB")
    try:
        batch = _read_typed(decode_typed(body), now_ms + TIME_AHEAD_MS, oldest_ms)
    except NOT_JSON:
        batch = None
    batch = batch or _read_any(body, now_ms, oldest_ms)
    if bounds is not None and batch.readings:
        device_id, product_id, *_ = cast("list[PlainReading]", batch.readings)[0]
        if not bounds.covers(device_id, product_id):
            raise BadMessage("foreign-device", "this key is for other devices", "/bizData/devId")
    return batch


def decode_json(body: bytes) -> object:
    """Any JSON, as strictly as a message is read; raises ``BadMessage``, ``broken-json``."""
    _check_depth(body)
    try:
        return _decode_any(body)
    except NOT_JSON as error:
        raise broken(body, error) from None


def _check_depth(body: bytes) -> None:
    """Raise ``BadMessage`` for JSON that is nested too deeply; whether it is JSON at all the decoder finds."""
    # So few brackets cannot be too deep, and most messages have fewer.
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    brackets = _strings.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"")
    if b"[" in brackets:
        raise BadMessage("broken-json", f"not JSON as it is taken here: nested more than {DEPTH_MAX} deep")


def _read_typed(message: Message, newest_ms: int, oldest_ms: int) -> Batch | None:
    """The readings of a decoded message, ``None`` when there is any doubt."""
    data = message.bizData
    device_id, product_id = data.devId, data.productId
    # Most ids are letters and digits, which is told in half the time; their length was checked with their type.
    both = device_id + product_id
    if not (both.isalnum() and both.isascii()) and not (is_id(device_id) and is_id(product_id)):
        return None
    readings: list[PlainReading] = []
    for prop in data.properties:
        kept = _KEPT.get(prop.code)
        if kept is None:
            continue
        code, low, high = kept
        time_ms = message.ts if prop.time is None else prop.time
        value = prop.value
        if time_ms is None or not oldest_ms <= time_ms <= newest_ms:
            return None
        if (type(value) is not float and type(value) is not int) or not low <= value <= high:
            return None
        # Adding 0.0 makes -0.0 the plain zero of the definition.
        readings.append((device_id, product_id, code, time_ms, value + 0.0))
    return Batch(readings, 1, len(data.properties) - len(readings), ())


def _read_any(body: bytes, now_ms: int, oldest_ms: int) -> Batch:
    """The definition's verdict."""
    message = decode_json(body)
    readings = read_message(message, now_ms, oldest_ms)
    properties = cast("dict[str, dict[str, list[object]]]", message)["bizData"]["properties"]
    return Batch(readings, 1, len(properties) - len(readings), ())


def broken(body: bytes, error: Exception) -> BadMessage:
    """The decoder's own words name a place and never what stands there; Python's about text would."""
    if not body.strip():
        return BadMessage("broken-json", "the body is empty")
    match error:
        case msgspec.DecodeError():
            return BadMessage("broken-json", f"not JSON: {error}")
        case RecursionError():
            return BadMessage("broken-json", f"not JSON as it is taken here: nested more than {DEPTH_MAX} deep")
        case _:
            return BadMessage("broken-json", "not JSON: the text is not UTF-8")
