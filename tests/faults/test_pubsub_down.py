"""A server whose Pub/Sub is away, or was never set up: it starts, says so, takes readings, and grows no memory over it.

P1 of the plan of tests; the orders themselves are followed through an outage in tests/path/test_pubsub_orders.py.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.usage import peak_mib
from tests.figures import Figure
from tests.path.conftest import wait_until
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import PROJECT, new_topic
from tests.serving import RunningServer, message

REQUEST_ORDERS = 1_000
StartServer = Callable[..., RunningServer]


def warnings_of(server: RunningServer) -> list[str]:
    return [line["reason"] for line in server.log() if line["level"] == "warning" and "reason" in line]


def test_a_server_starts_while_pubsub_is_down(start_server: StartServer, pubsub_server: PubSubServer) -> None:
    """Without Pub/Sub a server starts, takes readings and refuses orders aloud; the next one goes when it is back."""
    names = new_topic(pubsub_server.address)
    pubsub_server.shut()
    server = start_server(bus=names.bus, bus_timeout_s=0.5)

    assert server.post(message("d1")).is_success
    refused = server.client.post("/send", json={"device_id": "d1", "switch": True})
    assert (503, "/problems/bus-unavailable") == (refused.status_code, refused.json()["type"])
    assert int(refused.headers["Retry-After"]) >= 1
    ready = server.client.get("/readyz")
    assert (200, "ready") == (ready.status_code, ready.json()["status"])
    assert ["Pub/Sub did not accept the order in time; it is not sent, try again"] == ready.json()["reasons"]
    pubsub_server.open()
    wait_until(lambda: server.client.post("/send", json={"device_id": "d1", "switch": False}).is_success)
    assert [] == server.client.get("/readyz").json()["reasons"]
    assert [b'{"devId":"d1","switch":false}'] == [one.data for one in pubsub_server.published(names.topic)]


@pytest.mark.parametrize(
    ("topic", "words"), [("made", "has no subscription"), ("missing", "does not exist")], ids=["deaf", "missing"]
)
def test_what_would_go_nowhere_is_told_at_start(
    start_server: StartServer, pubsub_server: PubSubServer, topic: str, words: str
) -> None:
    """A server whose orders would reach nobody warns at its start, and serves."""
    bus = new_topic(pubsub_server.address, subscribed=False).bus
    if topic == "missing":
        bus = f"pubsub://{PROJECT}/nobody-made-this?emulator={pubsub_server.address}"
    server = start_server(bus=bus)

    wait_until(lambda: any(words in reason for reason in warnings_of(server)))
    assert server.post(message("d1")).is_success


def test_a_topic_with_a_subscription_is_no_news(start_server: StartServer, pubsub_server: PubSubServer) -> None:
    """A server whose orders reach somebody warns of nothing, and its log has no line that is not ours."""
    server = start_server(bus=new_topic(pubsub_server.address).bus)

    assert server.client.post("/send", json={"device_id": "d1", "switch": True}).is_success
    pubsub_server.reset()
    assert server.client.post("/send", json={"device_id": "d1", "switch": True}).is_success
    assert server.stop() == 0
    assert [] == warnings_of(server)


def pile_up(server: RunningServer, requests: int) -> list[int]:
    """As many orders at a time as the server lets wait, and more; the answers' status codes."""

    def send(number: int) -> int:
        orders = [{"device_id": f"r{number}-d{one}", "switch": True} for one in range(REQUEST_ORDERS)]
        return server.client.post("/send", json=orders).status_code

    with ThreadPoolExecutor(30) as pool:
        return list(pool.map(send, range(requests)))


def memory_stays_bounded(
    server: RunningServer, pubsub: PubSubServer, requests: int, *, growth_mib_max: int, figure: Figure
) -> None:
    pile_up(server, 3)  # what orders need at all
    before_mib = peak_mib(server.process.pid)
    pubsub.fault()
    answers = pile_up(server, requests)
    grown_mib = peak_mib(server.process.pid) - before_mib

    assert {503} == set(answers)
    assert grown_mib < growth_mib_max
    assert server.post(message("d1")).is_success
    figure("P1", "orders given while Pub/Sub says nothing", requests * REQUEST_ORDERS)
    figure("P1", "memory that the server took for them (MiB, peak)", grown_mib)


def test_orders_that_wait_take_little_memory(
    start_server: StartServer, pubsub_server: PubSubServer, figure: Figure
) -> None:
    """While Pub/Sub says nothing, orders pile up to a bound and are refused beyond it; memory stays within bounds."""
    names = new_topic(pubsub_server.address)
    server = start_server(bus=names.bus, bus_timeout_s=1, key_commands_per_min=0)
    memory_stays_bounded(server, pubsub_server, requests=30, growth_mib_max=120, figure=figure)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_million_orders_that_wait_take_little_memory(
    start_server: StartServer, pubsub_server: PubSubServer, figure: Figure
) -> None:
    """The same with an order for each of two million devices, for as long as it takes to refuse them."""
    names = new_topic(pubsub_server.address)
    server = start_server(bus=names.bus, bus_timeout_s=1, key_commands_per_min=0)
    memory_stays_bounded(server, pubsub_server, requests=2_000, growth_mib_max=400, figure=figure)
