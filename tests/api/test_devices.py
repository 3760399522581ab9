"""GET /devices: what is known of each heater."""

import time
from typing import Any

import pytest

from tests.serving import RunningServer, message

HOUR_MS = 3_600_000
KEYS = {
    "device_id",
    "product_id",
    "state",
    "power_w",
    "power_at",
    "temperature_c",
    "temperature_at",
    "last_seen_at",
}


def now_ms() -> int:
    """The time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def power(value: float, time_ms: int) -> dict[str, Any]:
    """A property that tells a power in W."""
    return {"code": "instant_power", "time": time_ms, "value": value}


def warm(value: float, time_ms: int) -> dict[str, Any]:
    """A property that tells a temperature in °C."""
    return {"code": "temp_interior", "time": time_ms, "value": value}


@pytest.fixture(scope="module")
def fleet(shared_server: RunningServer) -> RunningServer:
    """Four heaters of product fleet: two known (one on, one off), two silent, one of them never told its power."""
    now = now_ms()
    told = [
        message("on-known", power(1500, now - 5000), warm(19.5, now - 4000)),
        message("off-known", power(0, now - 5000)),
        message("on-silent", power(800, now - 2 * HOUR_MS)),
        message("quiet", warm(17, 1_732_631_573_782)),
    ]
    for one in told:
        one["bizData"]["productId"] = "fleet"
    shared_server.post(told)
    shared_server.rollup()
    return shared_server


def names(server: RunningServer, **query: str | int) -> list[str]:
    """The ids of the devices of product fleet that fit."""
    answer = server.client.get("/devices", params={"product_id": "fleet", **query})

    assert 200 == answer.status_code
    return [device["device_id"] for device in answer.json()["devices"]]


def test_one_device(fleet: RunningServer) -> None:
    """All that is known of a device, with times in RFC 3339; null where it never told."""
    known = fleet.client.get("/devices/on-known").json()
    quiet = fleet.client.get("/devices/quiet").json()

    assert KEYS | {"last_order"} == set(known)
    assert ("known", 1500.0, 19.5, None) == (
        known["state"],
        known["power_w"],
        known["temperature_c"],
        known["last_order"],
    )
    assert known["temperature_at"] == known["last_seen_at"] > known["power_at"]
    assert {
        "device_id": "quiet",
        "product_id": "fleet",
        "state": "silent",
        "power_w": None,
        "power_at": None,
        "temperature_c": 17.0,
        "temperature_at": "2024-11-26T14:32:53.782Z",
        "last_seen_at": "2024-11-26T14:32:53.782Z",
        "last_order": None,
    } == quiet


@pytest.mark.parametrize("device_id", ["nobody", "no%20body", "%00", "%F0%9F%92%A9", "..%2f", "x" * 2000])
def test_a_device_never_heard_of(shared_server: RunningServer, device_id: str) -> None:
    """Any id that is unknown is 404, whatever it looks like."""
    answer = shared_server.client.get(f"/devices/{device_id}")

    assert 404 == answer.status_code
    assert answer.json()["type"] in ("/problems/not-found", "/problems/no-such-path")


def test_the_last_order_is_shown(fleet: RunningServer) -> None:
    """A device's newest published order stands beside its state, in the single view."""
    fleet.client.post("/send", json={"device_id": "off-known", "switch": False})
    sent = fleet.client.post("/send", json={"device_id": "off-known", "switch": True})
    order = fleet.client.get("/devices/off-known").json()["last_order"]

    assert {"id", "switch", "state", "issued_at", "expires_at", "settled_at"} == set(order)
    assert (f"/commands/{order['id']}", True, "published") == (
        sent.headers["location"],
        order["switch"],
        order["state"],
    )


def test_devices_by_filter(fleet: RunningServer) -> None:
    """Product, known or silent, on or off: every filter that is given must fit."""
    assert {"on-known", "off-known", "on-silent", "quiet"} == set(names(fleet))
    assert {"on-known", "off-known"} == set(names(fleet, state="known"))
    assert {"on-silent", "quiet"} == set(names(fleet, state="silent"))
    assert {"on-known", "on-silent"} == set(names(fleet, switched="on"))
    assert {"off-known", "quiet"} == set(names(fleet, switched="off"))
    assert ["on-known"] == names(fleet, state="known", switched="on")
    assert [] == fleet.client.get("/devices?product_id=unheard-of").json()["devices"]


def test_pages_follow_each_other(fleet: RunningServer) -> None:
    """The cursor and the Link header lead through all devices, each once, with the filters kept."""
    path, seen = "/devices?product_id=fleet&limit=1&switched=on", []
    while path:
        answer = fleet.client.get(path)
        [device] = answer.json()["devices"]
        seen.append(device)
        cursor, link = answer.json()["next"], answer.headers.get("link")

        assert (cursor is None) == (link is None)

        path = link.removeprefix("<").removesuffix('>; rel="next"') if link else ""
        assert not path or f"after={cursor}" in path

    assert ["on-known", "on-silent"] == [device["device_id"] for device in seen]
    assert all(KEYS == set(device) for device in seen)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=9" + "9" * 5000, "limit"),
        ("state=lost", "state"),
        ("switched=maybe", "switched"),
        ("product_id=%20", "product_id"),
        ("after=x", "after"),
        ("after=AAAAAAAAAAB", "after"),
        ("after=__________8", "after"),
        ("after=%C3%A9%00", "after"),
        ("color=red", "color"),
        ("limit=1&limit=2", "limit"),
        ("state=known&state=silent", "state"),
    ],
)
def test_a_bad_parameter_is_named(shared_server: RunningServer, query: str, parameter: str) -> None:
    """A parameter without meaning is 422, by name; its value is not repeated."""
    answer = shared_server.client.get(f"/devices?{query}")

    assert 422 == answer.status_code
    assert ("/problems/bad-query", parameter) == (answer.json()["type"], answer.json()["parameter"])
    assert "red" not in answer.text


def test_a_bad_parameter_is_told_what_it_must_be(shared_server: RunningServer) -> None:
    """The sentence is ours, and says the whole range."""
    assert "limit must be from 1 to 100" == shared_server.client.get("/devices?limit=101").json()["detail"]


def test_a_parameter_that_could_be_anything_is_not_repeated(shared_server: RunningServer) -> None:
    """An unknown parameter whose name is no plain name is refused without it."""
    answer = shared_server.client.get("/devices", params={"<script>": "1"})

    assert 422 == answer.status_code
    assert "script" not in answer.text
