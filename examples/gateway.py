"""A gateway to many heaters, with Google's client alone: it hears orders from Pub/Sub and carries each out once.

    pip install google-cloud-pubsub
    python examples/gateway.py my-project send_command-gateway

The subscription must be one with message ordering, so that the last order for a heater comes last. Credentials are
those of the environment; PUBSUB_EMULATOR_HOST names a server to try it with. Ctrl-C ends it.
"""

import json
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message


class Gateway:
    """Carries orders out as they come. Pub/Sub may deliver one again, and Heatfleet may publish one again."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._carried_out: dict[str, datetime] = {}
        """By its id, until when an order may be carried out: later it is dropped anyway, and the id is forgotten."""

    def hear(self, message: Message) -> None:
        """One message; it is acknowledged once it is dealt with, so a crash before that brings it again."""
        now, expires = datetime.now(UTC), datetime.fromisoformat(message.attributes["expires_at"])
        command_id = message.attributes["command_id"]
        with self._turn:
            if expires > now and command_id not in self._carried_out:
                order = json.loads(message.data)
                switch(order["devId"], on=order["switch"], command_id=command_id)
                self._carried_out[command_id] = expires
                self._forget(now)
        message.ack()

    def _forget(self, now: datetime) -> None:
        """Orders are remembered in the order they came, which is nearly that of their expiry."""
        while self._carried_out and (oldest := next(iter(self._carried_out.items())))[1] < now:
            del self._carried_out[oldest[0]]


def switch(device_id: str, *, on: bool, command_id: str) -> None:
    """Where your heaters are told, in your own way."""
    print(f"{device_id} {'on' if on else 'off'} {command_id}", flush=True)


def listen(project: str, subscription: str) -> None:
    """Hear orders until the process ends."""
    gateway = Gateway()
    with SubscriberClient() as subscriber:
        path = subscriber.subscription_path(project, subscription)
        stream = subscriber.subscribe(path, gateway.hear)
        print("listening", flush=True)
        with suppress(KeyboardInterrupt):
            stream.result()
        stream.cancel()
        stream.result()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/gateway.py my-project my-subscription")
    listen(*sys.argv[1:3])
