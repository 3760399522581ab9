"""Google's own clients at a server of a test: a topic with a subscription, and a subscriber who notes what it hears.

Nothing here knows of Heatfleet.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PublisherOptions
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

OPTIONS = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)]
PROJECT = "heatfleet-test"


@dataclass(frozen=True, slots=True)
class Names:
    """A topic nobody else has, and its subscription."""

    address: str
    name: str

    @property
    def topic(self) -> str:
        return f"projects/{PROJECT}/topics/{self.name}"

    @property
    def subscription(self) -> str:
        return f"projects/{PROJECT}/subscriptions/{self.name}-gateway"

    @property
    def bus(self) -> str:
        """As HEATFLEET_BUS names the topic."""
        return f"pubsub://{PROJECT}/{self.name}?emulator={self.address}"


def publisher_at(address: str) -> Any:
    """Google's publisher, with message ordering."""
    transport = PublisherGrpcTransport(channel=grpc.insecure_channel(address, OPTIONS))
    options = PublisherOptions(enable_message_ordering=True)
    return PublisherClient(publisher_options=options, transport=transport)


def subscriber_at(address: str) -> Any:
    """Google's subscriber."""
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(address, OPTIONS)))


def new_topic(address: str, *, subscribed: bool = True) -> Names:
    """Make a topic on the server and, in the order of their keys, a subscription to it."""
    names = Names(address, f"send_command-{uuid4().hex[:8]}")
    with publisher_at(address) as publisher:
        publisher.create_topic(name=names.topic)
    if subscribed:
        with subscriber_at(address) as subscriber:
            wished = {"name": names.subscription, "topic": names.topic, "enable_message_ordering": True}
            subscriber.create_subscription(request=wished)
    return names


@dataclass
class Heard:
    """What a subscriber was given: each message as the device, its switch and the attributes; repeated ones too."""

    orders: list[tuple[str, bool, dict[str, str]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def hear(self, message: Any) -> None:
        order = json.loads(message.data)
        with self.news:
            self.orders.append((order["devId"], order["switch"], dict(message.attributes)))
            self.keys.append(message.ordering_key)
            self.news.notify_all()
        message.ack()

    def command_ids(self) -> list[str]:
        """The ids, in order of delivery."""
        return [attributes["command_id"] for _, _, attributes in self.orders]

    def ids_by_device(self) -> dict[str, list[str]]:
        """Of each device its ids, in order of delivery, each once."""
        found: dict[str, dict[str, None]] = {}
        for device_id, _, attributes in self.orders:
            found.setdefault(device_id, {})[attributes["command_id"]] = None
        return {device_id: list(ids) for device_id, ids in found.items()}

    def wait_for(self, command_ids: set[str], within_s: float = 60) -> None:
        """Until all of these were heard."""
        with self.news:
            assert self.news.wait_for(lambda: command_ids <= set(self.command_ids()), within_s), (
                f"{len(command_ids - set(self.command_ids()))} of {len(command_ids)} orders were not heard"
            )


@contextmanager
def listening(names: Names) -> Iterator[Heard]:
    """A subscriber that hears all that is published, as long as the block lasts."""
    heard = Heard()
    with subscriber_at(names.address) as subscriber:
        stream = subscriber.subscribe(names.subscription, heard.hear)
        try:
            yield heard
        finally:
            stream.cancel()
            stream.result(30)
