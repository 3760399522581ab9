"""What the URL of a BigQuery store means."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from heatfleet.errors import SetupError

HOW_TO_WRITE = "HEATFLEET_STORE: write bigquery://PROJECT/DATASET"

_matches_project = re.compile(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]").fullmatch
_matches_dataset = re.compile(r"[A-Za-z0-9_]{1,1024}").fullmatch


@dataclass(frozen=True, slots=True)
class Address:
    """A dataset of a project; with ``rest`` and ``grpc``, each ``HOST:PORT``, on a server of this machine."""

    project: str
    dataset: str
    rest: str | None = None
    grpc: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether a server on this machine is meant, which asks for no credentials, and not Google's."""
        return self.rest is not None

    @classmethod
    def of(cls, url: str) -> Self:
        """From ``bigquery://PROJECT/DATASET[?rest=HOST:PORT&grpc=HOST:PORT]``; ``SetupError`` if it is no such URL."""
        parts = urlsplit(url)
        project, dataset = parts.netloc, parts.path.removeprefix("/")
        if parts.scheme != "bigquery" or parts.fragment or not project or not dataset:
            raise SetupError(HOW_TO_WRITE)
        if not _matches_project(project):
            raise SetupError(f"{HOW_TO_WRITE}; a project's id is 6 to 63 lower-case letters, digits and hyphens")
        if not _matches_dataset(dataset):
            raise SetupError(f"{HOW_TO_WRITE}; a dataset's name is letters, digits and underscores")
        local = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not local:
            return cls(project, dataset)
        if local.keys() != {"rest", "grpc"}:
            raise SetupError(f"{HOW_TO_WRITE}, or for a server on this machine ...?rest=HOST:PORT&grpc=HOST:PORT")
        return cls(project, dataset, _loopback(local["rest"]), _loopback(local["grpc"]))


def _loopback(address: str) -> str:
    """``HOST:PORT`` on this machine: without TLS and credentials nothing goes further."""
    host, _, port = address.rpartition(":")
    try:
        near = host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        near = False
    if not near or not port.isdecimal():
        raise SetupError("HEATFLEET_STORE: rest= and grpc= take a server on this machine, such as 127.0.0.1:9050")
    return address
