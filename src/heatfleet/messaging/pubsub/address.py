"""What the URL of a Pub/Sub bus means."""

import re
from dataclasses import dataclass
from typing import Self

from heatfleet.domain.google_urls import is_project, on_this_machine, project_and_name
from heatfleet.errors import SetupError

HOW_TO_WRITE = "HEATFLEET_BUS: write pubsub://PROJECT/TOPIC"

_ELSEWHERE = "an emulator of Pub/Sub must be a server on this machine, such as 127.0.0.1:8085"
_matches_path = re.compile(r"projects/([^/]+)/subscriptions/([^/]+)").fullmatch
_matches_topic = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}").fullmatch


@dataclass(frozen=True, slots=True)
class Address:
    """A topic of a project; with ``emulator``, ``HOST:PORT``, on a server of this machine."""

    project: str
    topic: str
    emulator: str | None = None

    @property
    def path(self) -> str:
        """The topic as Pub/Sub's API names it."""
        return f"projects/{self.project}/topics/{self.topic}"

    @classmethod
    def of(cls, url: str) -> Self:
        """From ``pubsub://PROJECT/TOPIC[?emulator=HOST:PORT]``; ``SetupError`` if it is no such URL."""
        project, topic, local = project_and_name(url, "pubsub", how_to_write=HOW_TO_WRITE)
        if not _matches_topic(topic):
            raise SetupError(f"{HOW_TO_WRITE}; a topic's name is 3 to 255 letters, digits and -._~+%, a letter first")
        if not local:
            return cls(project, topic)
        if local.keys() != {"emulator"}:
            raise SetupError(f"{HOW_TO_WRITE}, or for a server on this machine ...?emulator=HOST:PORT")
        return cls(project, topic, on_this_machine(local["emulator"], otherwise=_ELSEWHERE))


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription of a project; with ``emulator`` as an ``Address``."""

    project: str
    name: str
    emulator: str | None = None

    @property
    def path(self) -> str:
        """The subscription as Pub/Sub's API names it."""
        return f"projects/{self.project}/subscriptions/{self.name}"

    @classmethod
    def of(cls, text: str, *, bus: str, emulator: str | None = None) -> Self:
        """From ``projects/P/subscriptions/S``, or from ``S`` in the project of the bus; ``SetupError`` for others.

        Without ``emulator`` that of the bus is taken.
        """
        near = Address.of(bus) if bus.startswith("pubsub:") else None
        found = _matches_path(text)
        project, name = (found[1], found[2]) if found else (near.project if near else "", text)
        if not project:
            raise SetupError(
                "--subscription: write projects/PROJECT/subscriptions/NAME; only HEATFLEET_BUS=pubsub://… "
                "names a project for short ones"
            )
        if not is_project(project) or not _matches_topic(name):
            raise SetupError(
                "--subscription: write projects/PROJECT/subscriptions/NAME; a name is 3 to 255 letters, "
                "digits and -._~+%, a letter first"
            )
        if emulator is None:
            return cls(project, name, near.emulator if near else None)
        return cls(project, name, on_this_machine(emulator, otherwise=_ELSEWHERE))
