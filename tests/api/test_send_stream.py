"""GET /commands/stream: orders as server-sent events, against the real server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from heatfleet.api.app import create_app
from heatfleet.config import Settings
from tests.serving import RunningServer, message


class Event(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: dict[str, Any]


@contextmanager
def listen(server: RunningServer, last_id: str | None = None, **wanted: str | list[str]) -> Iterator[Iterator[Event]]:
    """The events of a stream, which is open when the block begins."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with server.client.stream("GET", "/commands/stream", params=wanted, headers=headers) as response:
        assert response.is_success, response.read()
        yield events(response)


def events(response: httpx2.Response) -> Iterator[Event]:
    """What the server sends, event by event, to the end."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}


def send(server: RunningServer, device_id: str, switch: bool = True) -> str:
    """Switch a device; the id of the order."""
    answer = server.client.post("/send", json={"device_id": device_id, "switch": switch})
    assert answer.is_success, answer.text
    location: str = answer.headers["Location"]
    return location.removeprefix("/commands/")


def ids(heard: list[Event]) -> list[str]:
    """The ids of the orders."""
    return [event.data["command_id"] for event in heard]


def take(number: int, stream: Iterator[Event]) -> list[Event]:
    """So many events as they come."""
    return [next(stream) for _ in range(number)]


def test_an_order_is_heard_as_it_is_sent(shared_server: RunningServer) -> None:
    """A listening device gets its order as an event of these fields, and no order of another device."""
    with listen(shared_server, device_id="heard-1") as stream:
        send(shared_server, "heard-2")
        command_id = send(shared_server, "heard-1", switch=False)
        event = next(stream)
    told = shared_server.client.get(f"/commands/{command_id}").json()
    times = {name: told[name] for name in ("issued_at", "expires_at")}

    assert "command" == event.event
    assert {"command_id": command_id, "devId": "heard-1", "switch": False, **times} == event.data
    assert event.id.isdecimal()


def test_the_stream_is_not_kept_by_proxies(shared_server: RunningServer) -> None:
    """The answer's headers say what it is, and that nobody may hold it back."""
    with shared_server.client.stream("GET", "/commands/stream", params={"device_id": "d1"}) as response:
        assert "text/event-stream" == response.headers["Content-Type"].partition(";")[0]
        assert ("no-cache", "no") == (response.headers["Cache-Control"], response.headers["X-Accel-Buffering"])


def test_a_device_that_was_away_gets_its_order(shared_server: RunningServer) -> None:
    """On connecting, the newest order of each device asked for comes first."""
    _, other, newest, _ = [send(shared_server, f"away-{name}") for name in ("1", "2", "1", "3")]
    with listen(shared_server, device_id=["away-1", "away-2", "away-2"]) as stream:
        live = send(shared_server, "away-2")

        assert [other, newest, live] == ids(take(3, stream))


def test_coming_back_leaves_no_gap_and_repeats_nothing(server: RunningServer) -> None:
    """Hanging up after every few orders while others are sent, a listener hears each exactly once, in order."""
    names = [f"d{number}" for number in range(60)]
    heard: list[Event] = []
    with ThreadPoolExecutor(4) as pool:
        sending = pool.map(lambda name: send(server, name), names)
        while len(heard) < len(names):
            with listen(server, heard[-1].id if heard else None, device_id=names) as stream:
                heard += take(min(7, len(names) - len(heard)), stream)
        sent = list(sending)

    assert sorted(sent) == sorted(ids(heard))
    assert sorted(int(event.id) for event in heard) == [int(event.id) for event in heard]


def test_a_product_is_followed(server: RunningServer) -> None:
    """With product_id every device that was last heard as that product is listened for."""
    server.post([message("d1"), message("d2")])
    server.rollup()
    with listen(server, product_id="p1") as stream:
        _, first, second = [send(server, name) for name in ("unheard", "d2", "d1")]

        assert [first, second] == ids(take(2, stream))


def test_orders_outlive_a_crash(server: RunningServer) -> None:
    """After a kill and a restart the stream goes on where it was."""
    with listen(server, device_id=["d1", "d2"]) as stream:
        send(server, "d1")
        last = next(stream)
    missed = send(server, "d2")
    server.kill()
    server.start()
    with listen(server, last.id, device_id=["d1", "d2"]) as stream:
        live = send(server, "d1")

        assert [missed, live] == ids(take(2, stream))


def test_a_stream_does_not_hold_up_the_shutdown(server: RunningServer) -> None:
    """Told to stop, the server ends its streams in order and leaves."""
    with listen(server, device_id="d1") as stream:
        left = threading.Thread(target=server.stop)
        left.start()

        assert [] == list(stream)
        left.join()
    assert 0 == server.process.returncode


@pytest.mark.parametrize(
    ("wanted", "parameter"),
    [
        ({}, "device_id"),
        ({"device_id": "d1", "product_id": "p1"}, "device_id"),
        ({"device_id": ""}, "device_id"),
        ({"device_id": ["d1", "<script>"]}, "device_id"),
        ({"device_id": [f"d{number}" for number in range(1_001)]}, "device_id"),
        ({"product_id": "no good"}, "product_id"),
    ],
)
def test_whose_orders_must_be_clear(shared_server: RunningServer, wanted: dict[str, Any], parameter: str) -> None:
    """A stream is for at most 1000 devices or for one product; another is refused by name, never by value."""
    answer = shared_server.client.get("/commands/stream", params=wanted)

    assert (422, "/problems/bad-query") == (answer.status_code, answer.json()["type"])
    assert parameter == answer.json()["parameter"]
    assert "script" not in answer.text


@pytest.mark.parametrize("last_event_id", ["", "x", "-1", "1.5", "1e3", "٣", "9" * 19])
def test_a_malformed_last_event_id(shared_server: RunningServer, last_event_id: str) -> None:
    """Only an id that a stream has given is taken."""
    headers = {b"Last-Event-ID": last_event_id.encode()}
    answer = shared_server.client.get("/commands/stream", params={"device_id": "d1"}, headers=headers)

    assert (422, "/problems/bad-query") == (answer.status_code, answer.json()["type"])
    assert "Last-Event-ID" == answer.json()["parameter"]


async def test_a_listener_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    """Nothing is kept for a caller who is gone."""
    app = create_app(Settings(store=f"sqlite:///{tmp_path}/heatfleet.db"))
    started, gone = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def take_answer(_: Any) -> None:
        started.set()

    async with app.router.lifespan_context(app) as state:
        assert state is not None
        desk = state["services"].commands
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/commands/stream",
            "query_string": b"device_id=d1",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 50_000),
            "state": state,
        }
        request = asyncio.create_task(app(scope, receive, take_answer))
        await started.wait()
        assert 1 == len(list(desk._listeners))
        gone.set()
        await request

        assert [] == list(desk._listeners)
        assert {} == desk._listeners._by_name


def test_the_stream_is_documented(shared_server: RunningServer) -> None:
    """The API's documentation shows an event, and each way to be refused."""
    operation = shared_server.client.get("/openapi.json").json()["paths"]["/commands/stream"]["get"]
    documented = operation["responses"]["200"]["content"]["text/event-stream"]

    assert documented["examples"]["order"]["value"].startswith("event: command\ndata: {")
    assert {"200", "422", "503"} <= set(operation["responses"])
    assert {"device_id", "product_id", "Last-Event-ID"} == {parameter["name"] for parameter in operation["parameters"]}
