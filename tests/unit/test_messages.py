"""The checks on a device message: what becomes a reading, and what is refused with which words."""

import copy
from typing import Any

import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, TIME_MIN_MS, Reading, read_message
from heatfleet.errors import BadMessage

NOW_MS = 1_732_631_600_000
SEED: dict[str, Any] = {
    "bizCode": "devicePropertyMessage",
    "bizData": {
        "devId": "bfadafebb608a154206aqu",
        "productId": "ixhko1cls7lzpwsf",
        "properties": [{"code": "instant_power", "dpId": 1, "time": 1732631573782, "value": 2500}],
    },
    "ts": 1732631573782,
}


def seed_with(path: str, value: object) -> dict[str, Any]:
    """The original example with one place changed; ``...`` takes the place out."""
    message = copy.deepcopy(SEED)
    *parents, last = path.split("/")
    place: Any = message
    for step in parents:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is ...:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return message


PROPERTY = "bizData/properties/0"


def test_the_original_example_is_one_reading() -> None:
    """The seed's message, to the letter."""
    expected = Reading("bfadafebb608a154206aqu", "ixhko1cls7lzpwsf", POWER, 1732631573782, 2500.0)

    assert [expected] == read_message(SEED, NOW_MS)


def test_only_the_two_codes_are_kept_whatever_the_others_hold() -> None:
    """Foreign codes may have any value, any time, or none."""
    odd = [{"code": "switch", "value": {"a": [1]}, "time": "never"}, {"code": "fault"}]
    both = [*odd, {"code": "temp_interior", "time": NOW_MS, "value": 19.5}, *SEED["bizData"]["properties"]]
    readings = read_message(seed_with("bizData/properties", both), NOW_MS)

    assert [(reading.code, reading.value) for reading in readings] == [(TEMPERATURE, 19.5), (POWER, 2500.0)]


@pytest.mark.parametrize("missing", [..., None])
def test_a_property_without_time_takes_the_messages(missing: object) -> None:
    """``ts`` stands in for a missing time."""
    message = seed_with(f"{PROPERTY}/time", missing)
    message["ts"] = NOW_MS - 5

    assert [reading.time_ms for reading in read_message(message, NOW_MS)] == [NOW_MS - 5]


@pytest.mark.parametrize("path", ["ts", f"{PROPERTY}/dpId"])
def test_what_is_not_needed_may_be_missing(path: str) -> None:
    """``ts`` is not asked for where every property has its time; ``dpId`` never is."""
    assert len(read_message(seed_with(path, ...), NOW_MS)) == 1


def test_a_message_without_properties_has_no_readings() -> None:
    """An empty list is a valid message that stores nothing."""
    assert read_message(seed_with("bizData/properties", []), NOW_MS) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{PROPERTY}/value", 0), (f"{PROPERTY}/value", 100_000), (f"{PROPERTY}/value", -0.0),
        (f"{PROPERTY}/time", TIME_MIN_MS), (f"{PROPERTY}/time", NOW_MS + 300_000),
        ("bizData/devId", "a"), ("bizData/devId", "A-z.0_:" + "x" * 57), ("note", {"unknown": "field"}),
    ],
)  # fmt: skip
def test_bounds_belong_to_what_is_accepted(path: str, value: object) -> None:
    """The least and the greatest allowed value, time and id are allowed, and unknown fields are ignored."""
    readings = read_message(seed_with(path, value), NOW_MS)

    assert len(readings) == 1
    assert str(readings[0].value) != "-0.0"


@pytest.mark.parametrize(
    ("path", "value", "kind", "pointer"),
    [
        ("bizCode", "deviceOnline", "foreign-biz-code", "/bizCode"),
        ("bizCode", ..., "foreign-biz-code", "/bizCode"),
        ("bizData", [], "bad-field", "/bizData"),
        ("bizData", ..., "bad-field", "/bizData"),
        ("bizData/devId", ..., "bad-id", "/bizData/devId"),
        ("bizData/devId", 17, "bad-id", "/bizData/devId"),
        ("bizData/devId", "", "bad-id", "/bizData/devId"),
        ("bizData/devId", "x" * 65, "bad-id", "/bizData/devId"),
        ("bizData/devId", "a\n", "bad-id", "/bizData/devId"),
        ("bizData/devId", "é", "bad-id", "/bizData/devId"),
        ("bizData/productId", "a b", "bad-id", "/bizData/productId"),
        ("bizData/properties", {}, "bad-field", "/bizData/properties"),
        (PROPERTY, "x", "bad-field", "/bizData/properties/0"),
        (f"{PROPERTY}/code", ..., "bad-field", "/bizData/properties/0/code"),
        (f"{PROPERTY}/code", 5, "bad-field", "/bizData/properties/0/code"),
        (f"{PROPERTY}/value", ..., "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", True, "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", "2500", "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", None, "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", -1, "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", 100_000.1, "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", 10**400, "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", float("nan"), "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/value", float("inf"), "bad-value", "/bizData/properties/0/value"),
        (f"{PROPERTY}/time", 1732631573, "bad-time", "/bizData/properties/0/time"),
        (f"{PROPERTY}/time", NOW_MS + 300_001, "bad-time", "/bizData/properties/0/time"),
        (f"{PROPERTY}/time", 1732631573782.0, "bad-time", "/bizData/properties/0/time"),
        (f"{PROPERTY}/time", True, "bad-time", "/bizData/properties/0/time"),
        (f"{PROPERTY}/time", "1732631573782", "bad-time", "/bizData/properties/0/time"),
    ],
)  # fmt: skip
def test_a_bad_message_is_refused_as_a_whole_with_the_place(path: str, value: object, kind: str, pointer: str) -> None:
    """Each fault has its kind and its JSON pointer."""
    with pytest.raises(BadMessage) as caught:
        read_message(seed_with(path, value), NOW_MS)

    assert (kind, pointer) == (caught.value.kind, caught.value.pointer)


@pytest.mark.parametrize(("code", "low", "high"), [("temp_interior", -60, 100), ("instant_power", 0, 100_000)])
def test_each_code_has_its_own_range(code: str, low: float, high: float) -> None:
    """-60 to 100 °C, 0 to 100 kW."""
    for value in (low, high):
        assert [value] == [one.value for one in read_message(seed_with(PROPERTY, _property(code, value)), NOW_MS)]
    for value in (low - 0.1, high + 0.1):
        with pytest.raises(BadMessage, match=f"{low:g} to {high:g}"):
            read_message(seed_with(PROPERTY, _property(code, value)), NOW_MS)


def test_a_missing_time_and_ts_is_named() -> None:
    """Without any time there is no reading."""
    message = seed_with(f"{PROPERTY}/time", ...)
    del message["ts"]
    with pytest.raises(BadMessage, match="needs the message's ts"):
        read_message(message, NOW_MS)


def test_seconds_are_recognised_as_such() -> None:
    """A time in seconds gets the hint that mends it."""
    with pytest.raises(BadMessage, match="seconds, not milliseconds"):
        read_message(seed_with(f"{PROPERTY}/time", 1732631573), NOW_MS)


@pytest.mark.parametrize("message", [None, 5, "x", []])
def test_a_message_is_an_object(message: object) -> None:
    """Anything else is refused at the root."""
    with pytest.raises(BadMessage) as caught:
        read_message(message, NOW_MS)

    assert (caught.value.kind, caught.value.pointer) == ("bad-field", "")


def _property(code: str, value: float) -> dict[str, object]:
    return {"code": code, "time": NOW_MS, "value": value}
