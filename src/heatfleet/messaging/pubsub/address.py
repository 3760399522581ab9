"""What the URL of a Pub/Sub bus means."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from heatfleet.errors import SetupError

HOW_TO_WRITE = "HEATFLEET_BUS: write pubsub://PROJECT/TOPIC"

_matches_project = re.compile(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]").fullmatch
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
        try:
            parts = urlsplit(url)
        except ValueError:
            raise SetupError(HOW_TO_WRITE) from None
        project, topic = parts.netloc, parts.path.removeprefix("/")
        if parts.scheme != "pubsub" or parts.fragment or not project or not topic:
            raise SetupError(HOW_TO_WRITE)
        if not _matches_project(project):
            raise SetupError(f"{HOW_TO_WRITE}; a project's id is 6 to 63 lower-case letters, digits and hyphens")
        if not _matches_topic(topic):
            raise SetupError(f"{HOW_TO_WRITE}; a topic's name is 3 to 255 letters, digits and -._~+%, a letter first")
        local = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not parts.query:
            return cls(project, topic)
        if local.keys() != {"emulator"}:
            raise SetupError(f"{HOW_TO_WRITE}, or for a server on this machine ...?emulator=HOST:PORT")
        return cls(project, topic, _loopback(local["emulator"]))


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
        if not _matches_project(project) or not _matches_topic(name):
            raise SetupError(
                "--subscription: write projects/PROJECT/subscriptions/NAME; a name is 3 to 255 letters, "
                "digits and -._~+%, a letter first"
            )
        if emulator is None:
            return cls(project, name, near.emulator if near else None)
        return cls(project, name, _loopback(emulator))


def _loopback(address: str) -> str:
    """``HOST:PORT`` on this machine: without TLS and credentials nothing goes further."""
    host, _, port = address.rpartition(":")
    try:
        near = host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        near = False
    if not near or not port.isdecimal():
        raise SetupError("an emulator of Pub/Sub must be a server on this machine, such as 127.0.0.1:8085")
    return address
