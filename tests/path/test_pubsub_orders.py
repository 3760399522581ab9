"""Orders over Pub/Sub, all the way: POST /send, the topic, and a subscriber written with Google's client alone."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.figures import Figure
from tests.path.conftest import WholeServer, wait_until
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import Names, listening, new_topic
from tests.serving import message

SLACK_MS = 5_000
"""A request that is broken off here may be read there a moment later; tests/faults/test_pubsub_refusals.py is exact."""


@dataclass
class Caller:
    """Gives orders to devices of its own, one request after the other, and keeps book of what it was told."""

    devices: list[str]
    seed: int
    accepted: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)

    def call(self, base_url: str, done: threading.Event) -> None:
        """Until told to end: single orders, and some for many devices at once."""
        dice = random.Random(self.seed)
        with closing(httpx2.Client(base_url=base_url, timeout=60, trust_env=False)) as client:
            while not done.is_set():
                chosen = dice.sample(self.devices, dice.choice([1, 1, 5]))
                orders = [{"device_id": device_id, "switch": dice.random() < 0.5} for device_id in chosen]
                began_ms = time.time() * 1000
                answer = client.post("/send", json=orders[0] if len(orders) == 1 else orders)
                self._note(answer, chosen, began_ms)
                time.sleep(0.01)

    def _note(self, answer: httpx2.Response, devices: list[str], began_ms: float) -> None:
        self.statuses.append(answer.status_code)
        if answer.status_code == 200 and len(devices) == 1:
            sent = [(devices[0], answer.headers["Location"].removeprefix("/commands/"))]
        else:
            sent = [(one["device_id"], one["command_id"]) for one in answer.json().get("commands", [])]
        for device_id, command_id in sent:
            self.accepted.setdefault(device_id, []).append(command_id)
        for device_id in set(devices) - {device_id for device_id, _ in sent}:
            self.refused.setdefault(device_id, []).append((began_ms, time.time() * 1000))


def trouble(pubsub: PubSubServer, server: WholeServer, outage_s: float) -> None:
    """Everything that can go wrong with Pub/Sub, one after the other; readings are taken all the while."""
    time.sleep(0.3)
    pubsub.fault("UNAVAILABLE", done=True, times=5)
    time.sleep(0.3)
    pubsub.reset()
    pubsub.fault("RESOURCE_EXHAUSTED", times=20)
    time.sleep(0.3)
    pubsub.clear()
    pubsub.shut()
    end_s = time.monotonic() + outage_s
    wait_until(lambda: bool(server.client.get("/readyz").json()["reasons"]))
    while time.monotonic() < end_s:
        assert server.post(message("d1")).is_success
        assert server.client.get("/readyz").json()["status"] == "ready"
        time.sleep(0.05)
    pubsub.open()


def through_an_outage(server: WholeServer, pubsub: PubSubServer, names: Names, outage_s: float, figure: Figure) -> None:
    """Give orders while Pub/Sub has all its troubles, and compare what callers were told with what a listener heard."""
    callers = [Caller([f"caller-{one}-heater-{number}" for number in range(10)], seed=one) for one in range(4)]
    done = threading.Event()
    with listening(names) as heard, ThreadPoolExecutor(len(callers)) as pool:
        calls = [pool.submit(caller.call, server.base_url, done) for caller in callers]
        try:
            trouble(pubsub, server, outage_s)
            began_s = time.monotonic()
            before = sum(caller.statuses.count(200) for caller in callers)
            wait_until(lambda: sum(caller.statuses.count(200) for caller in callers) > before)
            back_s = time.monotonic() - began_s
            wait_until(lambda: not server.client.get("/readyz").json()["reasons"])
            time.sleep(0.3)
        finally:
            done.set()
        for call in calls:
            call.result()
        accepted = {device_id: ids for caller in callers for device_id, ids in caller.accepted.items()}
        heard.wait_for({command_id for ids in accepted.values() for command_id in ids})

    assert {200, 503} == {status for caller in callers for status in caller.statuses}
    by_device = heard.ids_by_device()
    for device_id, ids in accepted.items():
        assert ids == [command_id for command_id in by_device[device_id] if command_id in set(ids)]
    told = {command_id for ids in accepted.values() for command_id in ids}
    refused = {device_id: windows for caller in callers for device_id, windows in caller.refused.items()}
    for one in pubsub.published(names.topic):
        if one.attributes["command_id"] not in told:
            windows = refused[one.ordering_key]
            assert any(began_ms <= one.time_ms <= ended_ms + SLACK_MS for began_ms, ended_ms in windows)
    assert all(heard.orders[place][0] == key for place, key in enumerate(heard.keys))
    figure("P1", "outage of Pub/Sub (s)", outage_s)
    figure("P1", "orders accepted, every one heard, in order of its device", len(told))
    figure("P1", "orders refused, none of them sent later", sum(map(len, refused.values())))
    figure("P1", "orders heard twice, under one id", len(heard.orders) - len(set(heard.command_ids())))
    figure("P1", "first order accepted after its return (s)", back_s)


def test_every_order_is_heard_through_an_outage(
    start_whole_server: Callable[..., WholeServer], pubsub_server: PubSubServer, figure: Figure
) -> None:
    """A subscriber hears each accepted order, in order per device; none is sent after its refusal; readings go on."""
    names = new_topic(pubsub_server.address)
    server = start_whole_server(bus=names.bus, bus_timeout_s=1, key_commands_per_min=0)
    through_an_outage(server, pubsub_server, names, outage_s=2, figure=figure)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_every_order_is_heard_through_two_minutes(
    start_whole_server: Callable[..., WholeServer], pubsub_server: PubSubServer, figure: Figure
) -> None:
    """The same with two minutes without Pub/Sub."""
    names = new_topic(pubsub_server.address)
    server = start_whole_server(bus=names.bus, bus_timeout_s=1, key_commands_per_min=0)
    through_an_outage(server, pubsub_server, names, outage_s=120, figure=figure)
