"""``heatfleet consume`` in a process of its own, and what publishes for it: Google's client, at a server of a test."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.pubsub_server import PubSubServer
from tests.serving import clean_environment

PROJECT = "heatfleet-test"
WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Feed:
    """A topic that readings are published on, a subscription to it, and where its dead letters go."""

    server: PubSubServer
    topic: str
    subscription: str
    dead: str

    @classmethod
    def at(cls, server: PubSubServer, *, attempts: int | None = 5) -> "Feed":
        """New ones on a server; without ``attempts`` there are no dead letters."""
        name = f"readings-{uuid4().hex[:8]}"
        topic, dead = (f"projects/{PROJECT}/topics/{name}{end}" for end in ("", "-dead"))
        feed = cls(server, topic, f"projects/{PROJECT}/subscriptions/{name}", dead)
        channel = grpc.insecure_channel(server.address)
        with PublisherClient(transport=PublisherGrpcTransport(channel=channel)) as publisher:
            publisher.create_topic(name=topic)
            publisher.create_topic(name=dead)
        wished: dict[str, Any] = {"name": feed.subscription, "topic": topic}
        if attempts is not None:
            wished["dead_letter_policy"] = {"dead_letter_topic": dead, "max_delivery_attempts": attempts}
        channel = grpc.insecure_channel(server.address)
        with SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as subscriber:
            subscriber.create_subscription(request=wished)
        return feed

    def publish(self, texts: Iterable[bytes]) -> None:
        """Each as the data of one message."""
        waiting = [PubsubMessage(data=text) for text in texts]
        options = [("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(self.server.address, options)
        with PublisherClient(transport=PublisherGrpcTransport(channel=channel)) as publisher:
            for start in range(0, len(waiting), 500):
                publisher.publish(topic=self.topic, messages=waiting[start : start + 500])

    def waiting(self) -> int:
        """Messages that were not acknowledged."""
        return self.server.unacknowledged(self.subscription)

    def buried(self) -> list[bytes]:
        """What became dead letters."""
        return [one.data for one in self.server.published(self.dead)]


def wait_for(condition: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Wait for what is about to happen; the time is generous, and nothing is concluded from it."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)


class Consumer:
    """The process, over the store in ``folder``; begun at once, and again by ``start``."""

    def __init__(self, folder: Path, feed: Feed, *words: str, **settings: object) -> None:
        self.feed = feed
        self.folder = folder
        self.log_path = folder / "consumer.log"
        self._words = ["--subscription", feed.subscription, "--emulator", feed.server.address, *words]
        given = {"store": f"sqlite:///{folder / 'heatfleet.db'}", "log_format": "json", **settings}
        self._env = clean_environment() | {f"HEATFLEET_{name.upper()}": str(value) for name, value in given.items()}
        self.start()

    def start(self) -> None:
        """Begin."""
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", "heatfleet", "consume", *self._words]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self._env, stderr=log)

    def is_consuming(self) -> bool:
        """Whether it has come so far; it must not have ended."""
        assert self.process.poll() is None, self.log_path.read_text()
        return "consuming" in self.log_path.read_text()

    def drain(self) -> None:
        """Wait until all is acknowledged."""
        wait_for(lambda: self.process.poll() is not None or self.feed.waiting() == 0)
        assert self.process.poll() is None, self.log_path.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with this event."""
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]
