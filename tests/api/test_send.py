"""POST /send and GET /commands/{id} over HTTP, against the real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from heatfleet.api.app import create_app
from heatfleet.config import Settings
from heatfleet.errors import StoreUnavailable
from tests.serving import RunningServer

SEED_ORDER = b"""{
  "device_id": "bfadafebb608a154206aqu",
  "switch": true
}"""
"""The original's example, to the letter."""


def send(server: RunningServer, content: bytes = SEED_ORDER, **headers: str) -> httpx2.Response:
    """POST /send; underscores in header names mean dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post("/send", content=content, headers={"Content-Type": "application/json"} | named)


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[TestClient, list[int]]]:
    """The API in this process, over an empty store, with a clock that stands: its time is the list's only item."""
    now_ms = [1_768_068_000_000]  # 2026-01-10T18:00Z
    settings = Settings(store=f"sqlite:///{tmp_path}/heatfleet.db")
    with TestClient(create_app(settings, clock=lambda: now_ms[0]), base_url="http://localhost") as client:
        yield client, now_ms


def test_the_seed_to_the_letter(shared_server: RunningServer) -> None:
    """The original's order gets the original's answer, and a place where its state is told."""
    sent = send(shared_server)
    told = shared_server.client.get(sent.headers["Location"])
    order = told.json()

    assert (200, {"status": "command sent"}) == (sent.status_code, sent.json())
    assert sent.headers["Location"] == f"/commands/{order['id']}"
    assert ("bfadafebb608a154206aqu", True, "published") == (order["device_id"], order["switch"], order["state"])
    issued, settled, expires = (datetime.fromisoformat(order[f"{did}_at"]) for did in ("issued", "settled", "expires"))
    assert 300 == (expires - issued).total_seconds()
    assert issued <= settled < expires


def test_an_order_as_it_is_told(frozen: tuple[TestClient, list[int]]) -> None:
    """The state of an order has these fields, and changes when its time is over."""
    client, now_ms = frozen
    location = client.post("/send", json={"device_id": "d1", "switch": False}).headers["Location"]
    expected = {
        "id": location.removeprefix("/commands/"),
        "device_id": "d1",
        "switch": False,
        "state": "published",
        "issued_at": "2026-01-10T18:00:00.000Z",
        "expires_at": "2026-01-10T18:05:00.000Z",
        "settled_at": "2026-01-10T18:00:00.000Z",
    }

    assert expected == client.get(location).json()
    now_ms[0] += 300_000
    assert expected | {"state": "expired"} == client.get(location).json()


def test_the_last_order_wins(shared_server: RunningServer) -> None:
    """A newer order for the same device makes the earlier one superseded."""
    first, second = (
        send(shared_server, b'{"device_id": "heater-9", "switch": %s}' % on).headers["Location"]
        for on in (b"true", b"false")
    )

    assert [
        "superseded",
        "published",
    ] == [shared_server.client.get(location).json()["state"] for location in (first, second)]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"device_id": "d1", "switch": "true"}', "/switch"),
        (b'{"device_id": "d1", "switch": 1}', "/switch"),
        (b'{"device_id": "d1", "switch": 1.0}', "/switch"),
        (b'{"device_id": "d1", "switch": null}', "/switch"),
        (b'{"device_id": "d1"}', "/switch"),
        (b'{"switch": true}', "/device_id"),
        (b'{"device_id": 7, "switch": true}', "/device_id"),
        (b'{"device_id": "", "switch": true}', "/device_id"),
        (b'{"device_id": "<script>", "switch": true}', "/device_id"),
        (b'{"device_id": "d1\\n", "switch": true}', "/device_id"),
        (b'{"device_id": "%s", "switch": true}' % (b"d" * 65), "/device_id"),
        (b'"d1"', ""),
        (b"null", ""),
    ],
)
def test_a_body_that_is_no_order(shared_server: RunningServer, body: bytes, pointer: str) -> None:
    """A switch is true or false and a device is named by its id; anything else is refused, by place, never by value."""
    before = shared_server.metric('heatfleet_commands_total{state="accepted"}')
    answer = send(shared_server, body)

    assert 422 == answer.status_code
    slug = "bad-id" if pointer == "/device_id" else "bad-field"
    assert (f"/problems/{slug}", pointer) == (answer.json()["type"], answer.json()["pointer"])
    assert "script" not in answer.text
    assert before == shared_server.metric('heatfleet_commands_total{state="accepted"}')


def test_unknown_fields_are_ignored(shared_server: RunningServer) -> None:
    """A caller may send more than is understood."""
    assert send(shared_server, b'{"device_id": "d1", "switch": true, "reason": "cold"}').is_success


@pytest.mark.parametrize("body", [b"{", b'{"device_id": "d1", "switch": true} x', b"\xff", b"[" * 100_000])
def test_broken_json(shared_server: RunningServer, body: bytes) -> None:
    """What is not JSON is refused as such."""
    answer = send(shared_server, body[:60_000])

    assert (400, "/problems/broken-json") == (answer.status_code, answer.json()["type"])


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/problem+json"])
def test_a_body_that_does_not_say_json(shared_server: RunningServer, kind: str) -> None:
    """The body must be announced as JSON."""
    answer = send(shared_server, Content_Type=kind)

    assert (415, "/problems/unsupported-type") == (answer.status_code, answer.json()["type"])


def test_json_with_parameters(shared_server: RunningServer) -> None:
    """The media type may carry parameters, and is written in any case."""
    assert send(shared_server, Content_Type="Application/JSON; charset=utf-8").is_success


@pytest.mark.parametrize("key", ["", "two words", "tab\there", "k" * 256, "clé"])
def test_a_key_that_is_none(shared_server: RunningServer, key: str) -> None:
    """An Idempotency-Key has 1 to 255 visible ASCII characters; another is refused by name, and nothing is sent."""
    headers = {b"Content-Type": b"application/json", b"Idempotency-Key": key.encode("latin-1")}
    answer = shared_server.client.post("/send", content=SEED_ORDER, headers=headers)

    assert (422, "/problems/bad-query") == (answer.status_code, answer.json()["type"])
    assert "Idempotency-Key" == answer.json()["parameter"]


def test_a_repeated_request_is_one_order(server: RunningServer) -> None:
    """The same key with the same order sends nothing twice, however many ask at once, and after a restart too."""
    key = "!" + "k" * 253 + "~"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(server, Idempotency_Key=key), range(40)))
    server.kill()
    server.start()
    answers.append(send(server, Idempotency_Key=key))

    assert {200} == {answer.status_code for answer in answers}
    assert 1 == len({answer.headers["Location"] for answer in answers})
    assert 0 == server.metric('heatfleet_commands_total{state="accepted"}')


def test_a_key_of_another_order(shared_server: RunningServer) -> None:
    """A key that stands for another order is refused, and nothing is sent."""
    assert send(shared_server, Idempotency_Key="evening-7").is_success
    before = shared_server.metric('heatfleet_commands_total{state="accepted"}')
    answer = send(shared_server, SEED_ORDER.replace(b"true", b"false"), Idempotency_Key="evening-7")

    assert (422, "/problems/key-reused") == (answer.status_code, answer.json()["type"])
    assert before == shared_server.metric('heatfleet_commands_total{state="accepted"}')


@pytest.mark.parametrize("command_id", ["0f8b6a52-6d2f-4c36-9c3c-1f3f5d7f9f10", "%00", "%ff", "x" * 5_000])
def test_an_order_nobody_knows(shared_server: RunningServer, command_id: str) -> None:
    """An id that was never given is not found."""
    answer = shared_server.client.get(f"/commands/{command_id}")

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])


async def _closed(client: TestClient) -> None:
    await client.app_state["services"].bus.close()


def test_a_bus_that_does_not_take_orders(frozen: tuple[TestClient, list[int]]) -> None:
    """The answer is 503 with the time to wait, and the order is failed."""
    client, _ = frozen
    assert client.portal
    client.portal.call(_closed, client)
    answer = client.post("/send", json={"device_id": "d1", "switch": True})

    assert (503, "/problems/bus-unavailable") == (answer.status_code, answer.json()["type"])
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_ledger_that_does_not_write(frozen: tuple[TestClient, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 503 with the time to wait, and the bus never sees the order."""

    def full(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full", retry_after_s=5)

    client, _ = frozen
    monkeypatch.setattr(client.app_state["services"].ledger, "accept_many", full)
    answer = client.post("/send", json={"device_id": "d1", "switch": True})

    assert (503, "/problems/store-unavailable") == (answer.status_code, answer.json()["type"])
    assert 5 <= int(answer.headers["Retry-After"]) <= 11


def test_the_documented_order_runs(shared_server: RunningServer) -> None:
    """The example of the API's documentation can be sent as it is, and every answer above is documented."""
    document = shared_server.client.get("/openapi.json").json()
    operation = document["paths"]["/send"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    answer = shared_server.client.post("/send", json=examples["one"]["value"])
    many = shared_server.client.post("/send", json=examples["many"]["value"])

    assert {"200", "400", "413", "415", "422", "503"} <= set(operation["responses"])
    assert {"Location"} == set(operation["responses"]["200"]["headers"])
    assert (200, {"status": "command sent"}) == (answer.status_code, answer.json())
    assert (200, 2) == (many.status_code, many.json()["sent"])
    assert {"200", "404", "503"} <= set(document["paths"]["/commands/{command_id}"]["get"]["responses"])
