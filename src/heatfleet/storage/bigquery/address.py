"""What the URL of a BigQuery store means."""

import re
from dataclasses import dataclass
from typing import Self

from heatfleet.domain.google_urls import on_this_machine, project_and_name
from heatfleet.errors import SetupError

HOW_TO_WRITE = "HEATFLEET_STORE: write bigquery://PROJECT/DATASET"

_ELSEWHERE = "HEATFLEET_STORE: rest= and grpc= take a server on this machine, such as 127.0.0.1:9050"
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
        project, dataset, local = project_and_name(url, "bigquery", how_to_write=HOW_TO_WRITE)
        if not _matches_dataset(dataset):
            raise SetupError(f"{HOW_TO_WRITE}; a dataset's name is letters, digits and underscores")
        if not local:
            return cls(project, dataset)
        if local.keys() != {"rest", "grpc"}:
            raise SetupError(f"{HOW_TO_WRITE}, or for a server on this machine ...?rest=HOST:PORT&grpc=HOST:PORT")
        rest, grpc = (on_this_machine(local[name], otherwise=_ELSEWHERE) for name in ("rest", "grpc"))
        return cls(project, dataset, rest, grpc)
