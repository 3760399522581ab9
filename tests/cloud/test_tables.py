"""The tables of a BigQuery store, made by Google's client on a local server."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from google.cloud import bigquery

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.bigquery import bring_up, setup
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from tests.bigquery_server.running import BigQueryServer
from tests.cloud.front import Front


@pytest.fixture
def address(bigquery_server: BigQueryServer, dataset: str) -> Address:
    """A dataset of this test's own, which is not there yet."""
    with bigquery_server.address.client() as client:
        client.delete_dataset(dataset)
    return Address.of(bigquery_server.address.url(dataset))


@pytest.fixture
def client(address: Address) -> Iterator[bigquery.Client]:
    """Google's client, as the product makes it."""
    with query_client(address) as client:
        yield client


def states(address: Address, **options: object) -> dict[str, str]:
    """How each thing was found."""
    return {step.name: step.state for step in bring_up.set_up(address, **options)}  # type: ignore[arg-type]


def test_tables_are_made_once(address: Address) -> None:
    """The first run makes the dataset and every table, the second finds them all there."""
    first, second = states(address), states(address)

    assert list(first) == [address.dataset, *bring_up.tables()]
    assert set(first.values()) == {"made"}
    assert set(second.values()) == {"there"}


def test_a_dry_run_makes_nothing(address: Address, client: bigquery.Client) -> None:
    """It tells what is missing, and leaves it so."""
    assert set(states(address, dry_run=True).values()) == {"missing"}
    assert address.dataset not in {one.dataset_id for one in client.list_datasets()}


def test_what_is_missing_is_made_good(address: Address, client: bigquery.Client) -> None:
    """A table that was lost, as the record of the version was, comes back empty; the others are left alone."""
    setup.create_tables(client, address, "EU")
    for name in ("arrival", "head"):
        client.delete_table(f"{address.dataset}.{name}")

    assert {name for name, state in states(address).items() if state == "made"} == {"arrival", "head"}
    assert bring_up.version_of(client) == max(bring_up.scripts())


def test_a_dataset_stays_where_it_is(address: Address, client: bigquery.Client) -> None:
    """One in another location than asked for is named, and gets no tables; without a wish any location is fine."""
    wanted = bigquery.Dataset(f"{address.project}.{address.dataset}")
    wanted.location = "US"
    client.create_dataset(wanted)
    (step,) = bring_up.set_up(address, location="EU")

    assert (step.state, step.kind) == ("differs", "dataset")
    assert "it lies in US, not in EU" in step.note
    assert not list(client.list_tables(address.dataset))
    assert states(address)[address.dataset] == "there"
    assert next(bring_up.set_up(address, location="us")).note == "in US"


def test_tables_of_a_newer_program_are_left_alone(address: Address, client: bigquery.Client) -> None:
    """An older program does not touch them, and says which version they are of."""
    setup.create_tables(client, address, "EU")
    client.query("UPDATE head SET version = 999 WHERE TRUE").result()

    with pytest.raises(SetupError, match=r"newer Heatfleet \(version 999\)"):
        states(address)


def test_a_server_that_does_not_answer(address: Address) -> None:
    """It is said within seconds, to be tried again later."""
    with pytest.raises(StoreUnavailable, match="BigQuery cannot be reached"):
        states(replace(address, rest="127.0.0.1:9"))


def test_what_may_not_be_done_is_named(address: Address, bigquery_server: BigQueryServer) -> None:
    """With the permission and the role that has it; the next run goes on from there."""
    denied = (
        "Access Denied: Project heatfleet-tests: User does not have bigquery.datasets.create permission in project."
    )
    with Front(bigquery_server.address.rest) as front:
        behind = replace(address, rest=front.address)
        front.errors = {"POST /bigquery/v2/projects/heatfleet-tests/datasets": (403, denied)}
        with pytest.raises(SetupError, match=r"bigquery\.datasets\.create is missing; the role roles/bigquery\.dataEd"):
            states(behind)
        front.errors = {"POST /bigquery/v2/projects/heatfleet-tests/datasets": (403, "Billing has not been enabled.")}
        with pytest.raises(SetupError, match="asks for billing"):
            states(behind)
        front.errors = {}
        assert set(states(behind).values()) == {"made"}


def test_every_table_is_known_by_name(address: Address, client: bigquery.Client) -> None:
    """What is told of is what is made."""
    setup.create_tables(client, address)

    assert {table.table_id for table in client.list_tables(address.dataset)} == set(bring_up.tables())
