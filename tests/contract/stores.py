"""Every kind of store: the table of backends that the suite runs on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.setup import create_tables
from tests.bigquery_server.running import BigQueryServer


@dataclass(frozen=True)
class StoreBackend:
    """A kind of store: ``url`` gives a new, empty one an address, in a fresh folder if it needs one.

    Where a store is slow, a property is tried with one example instead of ``examples_share``.
    """

    name: str
    url: Callable[[Path], str]
    examples_share: int = 1

    def examples(self, usual: int | None = None) -> settings:
        """How often a property is tried here that is usually tried so often."""
        wanted = (usual or settings().max_examples) // self.examples_share
        return settings(max_examples=max(2, wanted), suppress_health_check=list(HealthCheck))


def on_sqlite(_: pytest.FixtureRequest) -> StoreBackend:
    """Files in the folder."""
    return StoreBackend("sqlite", lambda folder: f"sqlite:///{folder}/heatfleet.db")


def on_bigquery(request: pytest.FixtureRequest) -> StoreBackend:
    """A dataset of its own in the BigQuery for tests, where each query takes a while."""
    server: BigQueryServer = request.getfixturevalue("bigquery_server")

    def url(_: Path) -> str:
        url = server.address.url(server.dataset())
        with query_client(Address.of(url)) as client:
            create_tables(client, Address.of(url))
        return url

    return StoreBackend("bigquery", url, examples_share=12)


STORES: dict[str, Callable[[pytest.FixtureRequest], StoreBackend]] = {"sqlite": on_sqlite, "bigquery": on_bigquery}
"""The table of backends: a name, and how to give one an address."""

# SQLite alone keeps a store in files, and one server to a store.
in_files = pytest.mark.parametrize("store_backend", [on_sqlite], ids=["sqlite"], indirect=True)
