"""The Pub/Sub server of the tests behaves as Google's own emulator does, where that is installed, and as is documented.

Where the two differ ours is the stricter one, as the real service is: Google's emulator takes several ordering keys in
one request, and more than 10 MB.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient

from heatfleet.domain.commands import Command
from heatfleet.messaging import open_bus
from tests.path.conftest import wait_until
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import listening, new_topic, publisher_at, subscriber_at
from tests.serving import free_port

EMULATOR = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib")
"""Where the Debian package google-cloud-cli-pubsub-emulator puts Google's emulator."""
NOW_MS = 1_768_068_000_000
COMMAND = Command("c0", "d0", None, True, NOW_MS, NOW_MS + 300_000)


@contextmanager
def googles_emulator(log: Path) -> Iterator[str]:
    """Google's emulator, as long as the block lasts; its address."""
    jars = list(EMULATOR.glob("cloud-pubsub-emulator-*-all.jar"))
    if not jars:
        pytest.skip("Google's emulator is not installed (Debian package google-cloud-cli-pubsub-emulator)")
    port = free_port()
    command = ["java", "-jar", str(jars[0]), "--host=127.0.0.1", f"--port={port}"]

    def is_there() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(is_there)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(scope="module", params=["ours", "Google's"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of each server."""
    if request.param == "ours":
        with PubSubServer() as server:
            yield server.address
    else:
        with googles_emulator(tmp_path_factory.mktemp("emulator") / "log") as found:
            yield found


async def test_orders_reach_a_subscriber_in_order(address: str) -> None:
    """What our bus publishes, Google's subscriber hears, of each device in order."""
    names = new_topic(address)
    orders = [replace(COMMAND, command_id=f"c{number}", device_id=f"d{number % 5}") for number in range(50)]
    bus = open_bus(names.bus, clock=lambda: NOW_MS)
    with listening(names) as heard:
        assert "" == await bus.check()
        assert [None] * 50 == list(await bus.publish_many(orders, timeout_s=30))
        heard.wait_for({order.command_id for order in orders})
    await bus.close()

    assert {f"d{device}": [f"c{number}" for number in range(device, 50, 5)] for device in range(5)} == (
        heard.ids_by_device()
    )


REFUSED: dict[str, Any] = {
    "nothing": ({"messages": []}, exceptions.InvalidArgument),
    "too many": ({"messages": [{"data": b"x"}] * 1_001}, exceptions.InvalidArgument),
    "empty": ({"messages": [{}]}, exceptions.InvalidArgument),
    "no such topic": ({"topic": "projects/p/topics/nobody", "messages": [{"data": b"x"}]}, exceptions.NotFound),
}


@pytest.mark.parametrize(("request_of", "error"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_refused(address: str, request_of: dict[str, Any], error: type[Exception]) -> None:
    """A request to publish that is not as it has to be is refused with the status that is documented."""
    names = new_topic(address)
    with publisher_at(address) as publisher, pytest.raises(error):
        publish(publisher, {"topic": names.topic} | request_of)


def publish(publisher: Any, request: dict[str, Any]) -> list[str]:
    """One request, past the client's own batching."""
    client = PublisherClient(transport=publisher.transport)
    return list(client.publish(request=request, retry=None).message_ids)


def test_what_is_there_is_not_made_again(address: str) -> None:
    """A topic or a subscription whose name is taken is refused, and nothing is changed."""
    names = new_topic(address)
    with publisher_at(address) as publisher, pytest.raises(exceptions.AlreadyExists):
        publisher.create_topic(name=names.topic)
    with subscriber_at(address) as subscriber, pytest.raises(exceptions.AlreadyExists):
        subscriber.create_subscription(request={"name": names.subscription, "topic": names.topic})


def test_what_is_given_back_comes_again(address: str) -> None:
    """A message that is not acknowledged stays; one that is given back is delivered again; one acknowledged is gone."""
    names = new_topic(address)
    with publisher_at(address) as publisher, subscriber_at(address) as subscriber:
        publish(publisher, {"topic": names.topic, "messages": [{"data": b"x"}]})

        def pulled() -> list[Any]:
            request = {"subscription": names.subscription, "max_messages": 1}
            until_s = time.monotonic() + 30
            while not (found := list(subscriber.pull(request=request).received_messages)):
                assert time.monotonic() < until_s
            return found

        [first] = pulled()
        subscriber.modify_ack_deadline(subscription=names.subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
        [second] = pulled()
        assert first.message.message_id == second.message.message_id
        subscriber.acknowledge(subscription=names.subscription, ack_ids=[second.ack_id])


def test_one_ordering_key_a_request(pubsub_server: PubSubServer) -> None:
    """Several ordering keys in one request are refused, with the words that the real service is known to use."""
    names = new_topic(pubsub_server.address)
    mixed = [{"data": b"x", "ordering_key": key} for key in ("a", "b")]
    with publisher_at(names.address) as publisher:
        with pytest.raises(exceptions.FailedPrecondition, match="they must all have the same ordering key"):
            publish(publisher, {"topic": names.topic, "messages": mixed})
        with pytest.raises(exceptions.InvalidArgument, match="exceeds the limit"):
            publish(publisher, {"topic": names.topic, "messages": [{"data": b"x" * 10_000_001}]})
        assert 2 == len(publish(publisher, {"topic": names.topic, "messages": [mixed[0]] * 2}))
