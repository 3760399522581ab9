"""A server that dies when Pub/Sub has an order and the ledger does not know it yet; and the gateway that hears of it.

P3 of the plan of tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tests.figures import Figure
from tests.path.conftest import wait_until
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import PROJECT, Names, new_topic, publisher_at
from tests.serving import RunningServer

ROOT = Path(__file__).parents[2]


class Gateway:
    """examples/gateway.py, and what it said so far: device, ``on`` or ``off``, and the id of the order."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.said: list[tuple[str, ...]] = []

    def read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(tuple(line.split()))


@contextmanager
def gateway(names: Names) -> Iterator[Gateway]:
    """The example, listening as a process of its own as long as the block lasts."""
    command = [sys.executable, "-W", "error", str(ROOT / "examples/gateway.py"), PROJECT, f"{names.name}-gateway"]
    environment = os.environ | {"PUBSUB_EMULATOR_HOST": names.address}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    running = Gateway(process)
    with process, ThreadPoolExecutor(1) as pool:
        pool.submit(running.read)
        try:
            wait_until(lambda: ("listening",) in running.said)
            running.said.clear()
            yield running
        finally:
            process.kill()


def order(server: RunningServer, device_id: str, key: str) -> str:
    """Switch a device on; the id of the order."""
    answer = server.client.post(
        "/send", json={"device_id": device_id, "switch": True}, headers={"Idempotency-Key": key}
    )
    answer.raise_for_status()
    return answer.headers["Location"].removeprefix("/commands/")


def killed_in_between(server: RunningServer, pubsub: PubSubServer, names: Names, device_id: str) -> tuple[str, str]:
    """Kill the server when Pub/Sub has an order and it does not know yet; the ids of that order and of the next try."""
    known = len(pubsub.published(names.topic))
    pubsub.fault(done=True)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(order, server, device_id, f"key-of-{device_id}")
        wait_until(lambda: bool(pubsub.published(names.topic, after=known)))
        server.kill()
        with suppress(httpx2.TransportError):
            raise AssertionError(f"the order was answered: {asked.result()}")
    pubsub.clear()
    [first] = pubsub.published(names.topic, after=known)
    server.start()
    return first.attributes["command_id"], order(server, device_id, f"key-of-{device_id}")


def crashes(server: RunningServer, pubsub: PubSubServer, names: Names, kills: int, figure: Figure) -> None:
    """At each kill the order was sent, under an id that says it failed; repeated, it is sent; each id counts once."""
    with gateway(names) as listening:
        sent = {f"d{number}": killed_in_between(server, pubsub, names, f"d{number}") for number in range(kills)}
        pubsub.expire(names.subscription)
        expected = sorted((device_id, "on", one) for device_id, ids in sent.items() for one in ids)
        wait_until(lambda: sorted(listening.said) == expected)

    for first, second in sent.values():
        assert "failed" == server.client.get(f"/commands/{first}").json()["state"]
        assert server.client.get(f"/commands/{second}").json()["state"] in ("published", "expired")
    published = [one.attributes["command_id"] for one in pubsub.published(names.topic)]
    assert sorted(published) == sorted(one for ids in sent.values() for one in ids)
    figure("P3", "kills between publishing and noting it", kills)
    figure("P3", "ids that were published, each carried out once by the example", len(published))


def test_a_crash_between_publishing_and_noting_it(
    start_server: Callable[..., RunningServer], pubsub_server: PubSubServer, figure: Figure
) -> None:
    """An order is sent although nobody was told; it counts as failed, and repeated with its key it is sent for sure."""
    names = new_topic(pubsub_server.address)
    crashes(start_server(bus=names.bus), pubsub_server, names, kills=2, figure=figure)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hundred_crashes_between_publishing_and_noting_it(
    start_server: Callable[..., RunningServer], pubsub_server: PubSubServer, figure: Figure
) -> None:
    """The same a hundred times."""
    names = new_topic(pubsub_server.address)
    crashes(start_server(bus=names.bus), pubsub_server, names, kills=100, figure=figure)


def test_the_example_gateway_tells_repeated_and_stale_orders(pubsub_server: PubSubServer) -> None:
    """examples/gateway.py carries out each order once, however often it comes, none that has expired, and in order."""
    names = new_topic(pubsub_server.address)
    told = [
        ("c1", "2124", True),
        ("c2", "2124", False),
        ("c1", "2124", True),
        ("c0", "2024", True),
        ("c3", "2124", True),
    ]
    with publisher_at(names.address) as publisher, gateway(names) as listening:
        for command_id, year, switch in told:
            data = json.dumps({"devId": "d1", "switch": switch}).encode()
            attributes = {"command_id": command_id, "expires_at": f"{year}-01-10T18:05:00.000Z"}
            publisher.publish(names.topic, data, ordering_key="d1", **attributes).result(30)
        wait_until(lambda: 3 == len(listening.said) and 0 == pubsub_server.unacknowledged(names.subscription))

    assert [("d1", "on", "c1"), ("d1", "off", "c2"), ("d1", "on", "c3")] == listening.said
