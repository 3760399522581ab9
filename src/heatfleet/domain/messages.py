"""From a device message to readings: the checks of docs/explanation/numbers.md, in the order a person would make them.

This is the definition. The hot path (``api/decode.py``) reads well-formed messages faster and comes here for every
verdict on a bad one, so that there is one set of rules and one wording.
"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeGuard

from heatfleet.errors import BadMessage

BizCode = Literal["devicePropertyMessage"]
BIZ_CODE: BizCode = "devicePropertyMessage"

POWER = 0
TEMPERATURE = 1
CODES = {"instant_power": POWER, "temp_interior": TEMPERATURE}
"""The two property codes that are kept, with the small number each has in every store."""
CODE_NAMES = {number: name for name, number in CODES.items()}

VALUE_RANGES = {POWER: (0.0, 100_000.0), TEMPERATURE: (-60.0, 100.0)}
"""Inclusive bounds of a stored value: W and °C."""

TIME_MIN_MS = 946_684_800_000
"""2000-01-01T00:00Z; anything before is most likely a count of seconds."""
TIME_AHEAD_MS = 300_000
"""How far a device's clock may run ahead of ours."""

ID_PATTERN = r"[A-Za-z0-9._:-]{1,64}"
ID_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
ID_LENGTH_MAX = 64
ID_RULE = "1 to 64 characters of A-Z a-z 0-9 . _ : -"
_matches_id = re.compile(ID_PATTERN).fullmatch


class Reading(NamedTuple):
    """One stored property. ``code`` is POWER (value in W) or TEMPERATURE (value in °C); ``time_ms`` since the epoch."""

    device_id: str
    product_id: str
    code: int
    time_ms: int
    value: float


PlainReading = tuple[str, str, int, int, float]
"""A ``Reading`` or a plain tuple in its order, which is made in a tenth of the time."""


def is_id(text: object) -> TypeGuard[str]:
    """Whether this is a device or product id as semantics allow it."""
    return isinstance(text, str) and _matches_id(text) is not None


def read_message(message: object, now_ms: int, oldest_ms: int = TIME_MIN_MS) -> list[Reading]:
    """The readings of one decoded message; raises ``BadMessage`` and gives nothing when any part of it is bad.

    ``message`` is plain decoded JSON. Properties with other codes are dropped whatever they hold. ``oldest_ms`` is
    the instant before which readings are no longer kept.
    """
    envelope = _object(message, "")
    if envelope.get("bizCode") != BIZ_CODE:
        raise BadMessage("foreign-biz-code", f'bizCode must be "{BIZ_CODE}"', "/bizCode")
    data = _object(envelope.get("bizData"), "/bizData")
    device_id = _id(data, "devId")
    product_id = _id(data, "productId")
    properties = data.get("properties")
    if not isinstance(properties, list):
        raise BadMessage("bad-field", "properties must be an array", "/bizData/properties")
    readings = []
    for place, code, prop in _kept(properties):
        own = prop.get("time") is not None
        told, pointer = (prop["time"], f"{place}/time") if own else (envelope.get("ts"), "/ts")
        time_ms = _time(told, pointer, now_ms, oldest_ms)
        readings.append(Reading(device_id, product_id, code, time_ms, _value(prop, code, place)))
    return readings


def _kept(properties: list[object]) -> Iterator[tuple[str, int, dict[str, object]]]:
    """The properties with a stored code, each with its pointer and the code's number."""
    for index, item in enumerate(properties):
        place = f"/bizData/properties/{index}"
        prop = _object(item, place)
        code = prop.get("code")
        if not isinstance(code, str):
            raise BadMessage("bad-field", "code must be a string", f"{place}/code")
        if code in CODES:
            yield place, CODES[code], prop


def _object(value: object, pointer: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadMessage("bad-field", f"{pointer.rpartition('/')[2] or 'a message'} must be a JSON object", pointer)
    return value


def _id(data: dict[str, object], field: str) -> str:
    value = data.get(field)
    if not is_id(value):
        raise BadMessage("bad-id", f"{field} must be {ID_RULE}", f"/bizData/{field}")
    return str(value)


def _time(value: object, pointer: str, now_ms: int, oldest_ms: int) -> int:
    if value is None:
        raise BadMessage("bad-time", "a property without time needs the message's ts", pointer)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadMessage("bad-time", "a time must be a whole number of milliseconds since 1970", pointer)
    if value < TIME_MIN_MS:
        raise BadMessage("bad-time", "the time lies before 2000-01-01 (seconds, not milliseconds?)", pointer)
    if value > now_ms + TIME_AHEAD_MS:
        raise BadMessage("bad-time", f"the time lies more than {TIME_AHEAD_MS // 1000} s in the future", pointer)
    if value < oldest_ms:
        since = f"{datetime.fromtimestamp(oldest_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        raise BadMessage("too-old", f"readings are kept from {since} on, and the time lies before that", pointer)
    return value


def _value(prop: dict[str, object], code: int, place: str) -> float:
    value = prop.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadMessage("bad-value", f"{CODE_NAMES[code]} must be a number", f"{place}/value")
    low, high = VALUE_RANGES[code]
    # The comparison also refuses NaN, and a whole number too large for a float before it is made one.
    if not low <= value <= high:
        raise BadMessage("bad-value", f"{CODE_NAMES[code]} must be from {low:g} to {high:g}", f"{place}/value")
    # -0.0 and 0 are one value; a store must not be able to tell them apart.
    return math.fabs(value) if value == 0 else float(value)
