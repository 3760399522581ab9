"""POST /send with an array: many orders over HTTP, against the real server."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from heatfleet.api.app import create_app
from heatfleet.api.orders import ORDERS_MAX
from heatfleet.config import Settings
from heatfleet.domain.access import Scope
from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable, StoreUnavailable
from heatfleet.messaging.in_process import InProcessBus
from tests.keys import bearer, make_key
from tests.serving import RunningServer

SCOPES: tuple[Scope, ...] = ("command", "command:bulk", "admin")
ACCEPTED = 'heatfleet_commands_total{state="accepted"}'


def on(*device_ids: str) -> list[dict[str, Any]]:
    """Switch these on."""
    return [{"device_id": device_id, "switch": True} for device_id in device_ids]


def send(server: RunningServer, orders: Any, **headers: str) -> httpx2.Response:
    """POST /send; underscores in header names mean dashes."""
    return server.client.post(
        "/send", json=orders, headers={name.replace("_", "-"): it for name, it in headers.items()}
    )


def in_trail(server: RunningServer, device_id: str) -> list[dict[str, Any]]:
    """What the audit trail has of a device."""
    entries: list[dict[str, Any]] = server.client.get("/audit", params={"device_id": device_id}).json()["entries"]
    return entries


class PickyBus(InProcessBus):
    """The local bus, which does not take orders for devices whose id begins with ``no``."""

    async def publish_many(self, commands: Sequence[Command], *, timeout_s: float) -> Sequence[BusUnavailable | None]:
        """Accept some."""
        away = BusUnavailable("the broker is away", retry_after_s=7)
        return [away if command.device_id.startswith("no") else None for command in commands]


@pytest.fixture
def picky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API in this process, with a bus that refuses some orders."""
    monkeypatch.setattr("heatfleet.wiring.open_bus", lambda *_, **__: PickyBus())
    settings = Settings(store=f"sqlite:///{tmp_path}/heatfleet.db")
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def test_many_orders(shared_server: RunningServer) -> None:
    """Each is sent, told by its own id, and in the audit trail, in the order of the request."""
    orders = [{"device_id": f"many-{number}", "switch": number % 2 == 0} for number in range(50)]
    answer = send(shared_server, orders)
    document = answer.json()
    told = [shared_server.client.get(f"/commands/{sent['command_id']}").json() for sent in document["commands"]]

    assert (200, "commands sent", 50, []) == (
        answer.status_code,
        document["status"],
        document["sent"],
        document["rejected"],
    )
    assert "Location" not in answer.headers
    assert orders == [{"device_id": order["device_id"], "switch": order["switch"]} for order in told]
    assert {"published"} == {order["state"] for order in told}
    assert {sent["device_id"]: sent["command_id"] for sent in document["commands"]} == {
        order["device_id"]: order["id"] for order in told
    }


@pytest.mark.parametrize("number", [1, ORDERS_MAX])
def test_as_many_orders_as_a_request_may_have(shared_server: RunningServer, number: int) -> None:
    """From one to a thousand of the longest ids, in any white space."""
    orders = on(*(f"{number:0>64}" for number in range(number)))
    body = json.dumps(orders, indent=4).encode()
    answer = shared_server.client.post("/send", content=body, headers={"Content-Type": "application/json"})

    assert (200, number) == (answer.status_code, answer.json()["sent"])


def test_orders_that_are_none_are_named(shared_server: RunningServer) -> None:
    """The good ones are sent, each bad one is named by its index, and nothing of it is repeated."""
    orders = [
        {"device_id": "good-1", "switch": True},
        {"device_id": "<script>", "switch": True},
        {"device_id": "good-2"},
        "good-3",
        {"device_id": "good-4", "switch": "off"},
        {"device_id": "good-5", "switch": False, "reason": "night"},
        None,
        [],
        {"device_id": "d" * 65, "switch": True},
    ]
    answer = send(shared_server, orders)
    document = answer.json()

    assert 200 == answer.status_code
    assert ["good-1", "good-5"] == [sent["device_id"] for sent in document["commands"]]
    assert [
        (1, "/problems/bad-id", "/device_id"),
        (2, "/problems/bad-field", "/switch"),
        (3, "/problems/bad-field", ""),
        (4, "/problems/bad-field", "/switch"),
        (6, "/problems/bad-field", ""),
        (7, "/problems/bad-field", ""),
        (8, "/problems/bad-id", "/device_id"),
    ] == [(item["index"], item["type"], item["pointer"]) for item in document["rejected"]]
    assert "script" not in answer.text
    assert [] == in_trail(shared_server, "good-2")


def test_nothing_is_sent_when_no_order_is_good(shared_server: RunningServer) -> None:
    """All are named, and the answer is a refusal."""
    before = shared_server.metric(ACCEPTED)
    answer = send(shared_server, [{"device_id": "d1"}, 7])

    assert (422, "/problems/all-rejected") == (answer.status_code, answer.json()["type"])
    assert [0, 1] == [item["index"] for item in answer.json()["rejected"]]
    assert before == shared_server.metric(ACCEPTED)


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"[]", 422, "bad-field"),
        (b" [ ] ", 422, "bad-field"),
        (json.dumps(on(*map(str, range(ORDERS_MAX + 1)))).encode(), 413, "too-large"),
        (b"[" + b"1," * 130_000 + b"1]", 413, "too-large"),
        (json.dumps(on("d1")).encode() + b" " * 262_144, 413, "too-large"),
        (b'[{"device_id": "d1", "switch": true}', 400, "broken-json"),
        (b'[{"device_id": "d1", "switch": true}]]', 400, "broken-json"),
        (b'[{"device_id": "d1", "switch": NaN}]', 400, "broken-json"),
        (b'[{"device_id": "d1", "switch": true}, ' + b"[" * 65 + b"]" * 65 + b"]", 400, "broken-json"),
        (b'[{"device_id": "\xff", "switch": true}]', 400, "broken-json"),
    ],
)
def test_a_request_that_is_refused_as_a_whole(
    shared_server: RunningServer, body: bytes, status: int, slug: str
) -> None:
    """No orders, too many of them, too many bytes, or no JSON: nothing is sent."""
    before = shared_server.metric(ACCEPTED)
    answer = shared_server.client.post("/send", content=body, headers={"Content-Type": "application/json"})

    assert (status, f"/problems/{slug}") == (answer.status_code, answer.json()["type"])
    assert before == shared_server.metric(ACCEPTED)


def test_the_later_of_two_orders_for_one_device_wins(shared_server: RunningServer) -> None:
    """Within one request as between two."""
    orders = [{"device_id": "twice", "switch": True}, {"device_id": "twice", "switch": False}]
    sent = send(shared_server, orders).json()["commands"]

    assert ["superseded", "published"] == [
        shared_server.client.get(f"/commands/{command['command_id']}").json()["state"] for command in sent
    ]


def test_a_repeated_request_sends_nothing_twice(server: RunningServer) -> None:
    """The same key with the same orders gets the same answer, bad items and all, and after a restart too."""
    orders = [*on("d1", "d2"), {"device_id": "d3"}, *on("d4")]
    first = send(server, orders, Idempotency_Key="evening-7")
    second = send(server, orders, Idempotency_Key="evening-7")
    server.kill()
    server.start()
    third = send(server, orders, Idempotency_Key="evening-7")
    other = send(server, [*orders[1:], orders[0]], Idempotency_Key="evening-7")
    single = send(server, orders[0], Idempotency_Key="evening-7")

    assert (200, 3, [2]) == (
        first.status_code,
        first.json()["sent"],
        [item["index"] for item in first.json()["rejected"]],
    )
    assert first.json() == second.json() == third.json()
    assert [(422, "/problems/key-reused")] * 2 == [
        (answer.status_code, answer.json()["type"]) for answer in (other, single)
    ]
    assert 0 == server.metric(ACCEPTED)
    results = [entry["result"] for entry in in_trail(server, "d1")]
    assert ["published", "repeated", "repeated", "key-reused"] == results  # of many refused ones the number is noted


def test_a_bus_that_refuses_some(picky: TestClient) -> None:
    """Those are named with their problem, beside the bad ones; the same request again tries them again."""
    orders = [*on("no-1", "d1"), {"device_id": "d2"}, *on("no-2")]
    first = picky.post("/send", json=orders, headers={"Idempotency-Key": "k"})
    second = picky.post("/send", json=orders, headers={"Idempotency-Key": "k"})

    assert (200, 1) == (first.status_code, first.json()["sent"])
    assert [
        (0, "/problems/bus-unavailable"),
        (2, "/problems/bad-field"),
        (3, "/problems/bus-unavailable"),
    ] == [(item["index"], item["type"]) for item in first.json()["rejected"]]
    assert first.json() == second.json()
    entries = picky.get("/audit").json()["entries"]
    assert ["failed", "published", "failed", "failed", "repeated", "failed"] == [entry["result"] for entry in entries]


def test_a_bus_that_refuses_all(picky: TestClient) -> None:
    """The whole request is to be sent again later."""
    answer = picky.post("/send", json=[*on("no-1", "no-2"), {"device_id": "d2"}])

    assert (503, "/problems/bus-unavailable") == (answer.status_code, answer.json()["type"])
    assert int(answer.headers["Retry-After"]) >= 7
    assert {"failed"} == {entry["result"] for entry in picky.get("/audit").json()["entries"]}


def test_a_ledger_that_does_not_write(picky: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the whole request is to be sent again later."""

    def full(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full", retry_after_s=5)

    monkeypatch.setattr(picky.app_state["services"].ledger, "accept_many", full)
    answer = picky.post("/send", json=on("d1", "d2"))

    assert (503, "/problems/store-unavailable") == (answer.status_code, answer.json()["type"])
    assert int(answer.headers["Retry-After"]) >= 5
    assert [] == picky.get("/audit").json()["entries"]


def test_many_at_once_need_a_scope_of_their_own(start_server: Callable[..., RunningServer]) -> None:
    """A key for single orders cannot switch two heaters in one request; the attempt is in the audit trail."""
    server = start_server()
    one, many, admin = (make_key(server.store_url, scope)[0] for scope in SCOPES)
    deadline_s = time.monotonic() + 30
    while server.client.get("/audit").status_code != 401:  # the server is told of its first keys in a moment
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    refused = send(server, on("d1", "d2"), **bearer(one))
    sent = send(server, on("d1", "d2"), **bearer(many))
    single = send(server, on("d1")[0], **bearer(one))
    entries = server.client.get("/audit", headers=bearer(admin)).json()["entries"]

    assert (403, "/problems/missing-scope") == (refused.status_code, refused.json()["type"])
    assert (200, 200) == (sent.status_code, single.status_code)
    results = [(entry["subject"], entry["result"]) for entry in entries if entry["action"] == "order"]
    assert [("", "missing-scope"), ("d1", "superseded"), ("d2", "published"), ("d1", "published")] == results
    assert ["2 orders"] == [entry["detail"] for entry in entries if entry["result"] == "missing-scope"]
