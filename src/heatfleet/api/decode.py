"""From bytes to readings: one message, a JSON array of them, or one on each line (NDJSON).

A well-formed message takes the fast way, straight into typed structs. Whatever that way does not accept, for
any reason, takes the way of the definition, ``domain.messages.read_message``, which alone gives verdicts. So there
is one set of rules, and fast is never lenient: the structs forbid unknown fields, because what msgspec skips it
does not fully check.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import NamedTuple, cast

import msgspec

from heatfleet.domain.messages import (
    BIZ_CODE,
    CODES,
    TIME_AHEAD_MS,
    TIME_MIN_MS,
    VALUE_RANGES,
    Reading,
    is_id,
    read_message,
)
from heatfleet.errors import BadMessage

MESSAGE_BYTES_MAX = 256 * 1024
BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_MESSAGES_MAX = 10_000
DEPTH_MAX = 64
"""Objects and arrays within each other; what the decoder itself can take hangs on how it was called."""

# Any JSON value; msgspec decodes it a quarter faster than Any.
_Json = float | int | str | bool | list[object] | dict[str, object] | None


class _Property(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    code: str
    time: int | None = None
    value: _Json = None
    dpId: _Json = None  # noqa: N815  # the wire's own names


class _Data(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    devId: str  # noqa: N815
    productId: str  # noqa: N815
    properties: list[_Property]
    dataId: _Json = None  # noqa: N815


class _Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    bizCode: str  # noqa: N815
    bizData: _Data  # noqa: N815
    ts: int | None = None
    dataId: _Json = None  # noqa: N815


_decode_typed = msgspec.json.Decoder(_Message).decode
_decode_any = msgspec.json.Decoder().decode
# An array with so many places and no more. A list has no end: 8 MiB of "1,1,1" would become 300 MB of objects.
_Places = msgspec.defstruct(
    "_Places",
    [(f"place_{number}", msgspec.Raw, None) for number in range(BATCH_MESSAGES_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
)
_decode_places = msgspec.json.Decoder(_Places).decode

_KEPT = {name: (code, *VALUE_RANGES[code]) for name, code in CODES.items()}
"""What is kept, by the name on the wire: its number and the bounds of its values."""

# Reading(...) without the Python function in between, which costs as much as all the checks.
_reading = cast("Callable[[tuple[str, str, int, int, float]], Reading]", partial(tuple.__new__, Reading))

# One that is not closed reaches to the end, or else the time for many of them would grow squared.
_strings = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that the decoder raises about bytes: only the first is of its own kind."""


class Batch(NamedTuple):
    """What a request held: all readings of its ``messages`` good ones, and each bad one with its index."""

    readings: list[Reading]
    messages: int
    dropped: int
    rejected: Sequence[tuple[int, BadMessage]]


def decode_message(body: bytes, now_ms: int, oldest_ms: int = TIME_MIN_MS) -> Batch:
    """A batch of one message, which is good; ``oldest_ms`` is never before ``TIME_MIN_MS``.

    Raises ``BadMessage``: ``broken-json``, ``too-large``, or what ``read_message`` finds.
    """
    if len(body) > MESSAGE_BYTES_MAX:
        raise BadMessage("too-large", f"a message may have {MESSAGE_BYTES_MAX // 1024} KiB")
    _check_depth(body)
    try:
        message = _read_typed(_decode_typed(body), now_ms, oldest_ms)
    except _NOT_JSON:
        message = None
    return message or _read_any(body, now_ms, oldest_ms)


def decode_json(body: bytes) -> object:
    """Any JSON, as strictly as a message is read; raises ``BadMessage``, ``broken-json``."""
    _check_depth(body)
    try:
        return _decode_any(body)
    except _NOT_JSON as error:
        raise _broken(body, error) from None


def decode_batch(body: bytes, now_ms: int, oldest_ms: int = TIME_MIN_MS, *, ndjson: bool) -> Batch:
    """The readings of all good messages of a batch; the bad ones are named by index, counting no blank lines.

    Raises ``BadMessage``: ``broken-json`` when the array itself is broken, ``too-large`` for too many.
    """
    readings: list[Reading] = []
    rejected: list[tuple[int, BadMessage]] = []
    messages = dropped = 0
    for index, item in enumerate(_lines(body) if ndjson else _items(body)):
        if index == BATCH_MESSAGES_MAX:
            raise _too_many()
        try:
            message = decode_message(item, now_ms, oldest_ms)
        except BadMessage as error:
            rejected.append((index, error))
        else:
            readings += message.readings
            dropped += message.dropped
            messages += 1
    return Batch(readings, messages, dropped, rejected)


def _lines(body: bytes) -> Iterable[bytes]:
    return (line.rstrip(b"\r\n") for line in io.BytesIO(body) if not line.isspace())


def _items(body: bytes) -> Iterable[bytes]:
    try:
        places = msgspec.structs.astuple(_decode_places(body))
    except msgspec.ValidationError:
        raise _too_many() from None  # the only way in which an array can be no such array
    except _NOT_JSON as error:
        raise _broken(body, error) from None
    return map(bytes, takewhile(lambda item: item is not None, places))


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


def _too_many() -> BadMessage:
    return BadMessage("too-large", f"a batch may have {BATCH_MESSAGES_MAX} messages")


def _is_id(text: str) -> bool:
    # Most ids are letters and digits, which is told in half the time.
    return (text.isalnum() and text.isascii() and len(text) <= 64) or is_id(text)


def _read_typed(message: _Message, now_ms: int, oldest_ms: int) -> Batch | None:
    """The readings of a decoded message, ``None`` when there is any doubt."""
    data = message.bizData
    if message.bizCode != BIZ_CODE or not _is_id(data.devId) or not _is_id(data.productId):
        return None
    newest_ms = now_ms + TIME_AHEAD_MS
    readings = []
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
        readings.append(_reading((data.devId, data.productId, code, time_ms, value + 0.0)))
    return Batch(readings, 1, len(data.properties) - len(readings), ())


def _read_any(body: bytes, now_ms: int, oldest_ms: int) -> Batch:
    """The definition's verdict."""
    try:
        message = _decode_any(body)
    except _NOT_JSON as error:
        raise _broken(body, error) from None
    readings = read_message(message, now_ms, oldest_ms)
    properties = cast("list[object]", message["bizData"]["properties"])
    return Batch(readings, 1, len(properties) - len(readings), ())


def _broken(body: bytes, error: Exception) -> BadMessage:
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
