"""Names and JSON."""

import json

import numpy as np

from heatfleet.domain.messages import read_message
from heatfleet.simulator.wire import MESSAGE, NOT_SAID, Messages, Wire, device_id, product_ids
from tests.unit.simulator.conftest import JANUARY_MS, Message


def row(**columns: int) -> Messages:
    """One message that says nothing but what is given."""
    rows = np.zeros(1, dtype=MESSAGE)
    rows[["power_w", "tenths_c", "switch"]] = (NOT_SAID, NOT_SAID, NOT_SAID)
    rows["time_ms"], rows["latency_ms"] = JANUARY_MS, 200
    for name, value in columns.items():
        rows[name] = value
    return rows


def test_names_look_like_tuyas() -> None:
    """Device ids have 22 and product ids 16 small letters or digits; they begin with sim and do not collide."""
    names = [device_id(1, number) for number in range(2000)]

    assert {len(name) for name in names} == {22}
    assert all(name.startswith("sim") and name.isalnum() and name.islower() for name in names)
    assert len(set(names)) == 2000
    assert {len(name) for name in product_ids(1)} == {16}
    assert not set(product_ids(1)) & set(product_ids(2))
    assert device_id(1, 0) != device_id(2, 0)


def test_a_line_is_the_documented_message() -> None:
    """Every property said is in the JSON, with code, dpId, time and value; ts is when the cloud saw it."""
    wire = Wire(1, first_device=0, devices=3)
    (line,) = wire.lines(row(device=2, number=255, power_w=1500, tenths_c=-5, switch=0))

    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "bizCode": "devicePropertyMessage",
        "bizData": {
            "dataId": f"{wire.device_ids[2][-12:]}-000000ff",
            "devId": wire.device_ids[2],
            "productId": wire.product_ids[2],
            "properties": [
                {"code": "instant_power", "dpId": 1, "time": JANUARY_MS, "value": 1500},
                {"code": "temp_interior", "dpId": 2, "time": JANUARY_MS, "value": -0.5},
                {"code": "switch", "dpId": 3, "time": JANUARY_MS, "value": False},
            ],
        },
        "ts": JANUARY_MS + 200,
    }


def test_one_property_alone() -> None:
    """A message that says one thing has one property, whichever it is."""
    wire = Wire(1, first_device=0, devices=1)
    rows = np.concatenate([row(power_w=0), row(tenths_c=200), row(switch=1)])

    properties = [json.loads(line)["bizData"]["properties"] for line in wire.lines(rows)]
    assert [[(prop["code"], prop["value"]) for prop in one] for one in properties] == [
        [("instant_power", 0)],
        [("temp_interior", 20.0)],
        [("switch", True)],
    ]


def test_the_service_understands_all_of_it(winter_day: list[Message]) -> None:
    """The service's own definition takes every message of a winter's day."""
    readings = [reading for message in winter_day for reading in read_message(message, JANUARY_MS + 86_400_000)]

    assert len(readings) > len(winter_day)
