"""What `heatfleet doctor` finds in BigQuery, asked by Google's client of a local server."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from heatfleet.domain.checks import Check
from heatfleet.storage.bigquery import bring_up, setup
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.look import look
from tests.bigquery_server.running import BigQueryServer
from tests.cloud.front import Front

DENIED = "Access Denied: Project heatfleet-tests: User does not have {} permission in project heatfleet-tests."


@pytest.fixture
def front(bigquery_server: BigQueryServer) -> Iterator[Front]:
    """The way to BigQuery that knows of rights."""
    with Front(bigquery_server.address.rest) as front:
        yield front


@pytest.fixture
def address(bigquery_server: BigQueryServer, front: Front, dataset: str) -> Address:
    """A dataset of this test's own, with tables."""
    address = replace(Address.of(bigquery_server.address.url(dataset)), rest=front.address)
    with query_client(address) as client:
        setup.create_tables(client, address)
    return address


def looked(address: Address) -> dict[str, Check]:
    """Each check by its name."""
    return {check.name: check for check in look(address)}


def run(address: Address, sql: str) -> None:
    """A statement."""
    with query_client(address) as client:
        client.query(sql).result()


def test_all_is_well(address: Address) -> None:
    """Queries run, the dataset and its tables are there, and this account may use them."""
    checks = looked(address)

    assert [*checks] == ["jobs", "dataset", "tables", "rights"]
    assert {check.state for check in checks.values()} == {"ok"}
    assert checks["tables"].found == f"all {len(bring_up.tables())}, of version {max(bring_up.scripts())}"


def test_a_missing_permission_is_named(address: Address, front: Front) -> None:
    """With the tables it is missing on, and the role that has it."""
    front.denied = {"bigquery.tables.updateData", "arrival bigquery.tables.get"}
    rights = looked(address)["rights"]

    assert rights.state == "fail"
    assert rights.found == "missing: bigquery.tables.get on arrival; bigquery.tables.updateData on all tables"
    assert rights.fix == f"give it roles/bigquery.dataEditor on the dataset {address.dataset}"


def test_questions_that_may_not_be_asked(address: Address, front: Front) -> None:
    """Running a query takes a right of its own; all else is looked at all the same."""
    front.errors = {"POST /bigquery/v2/projects/heatfleet-tests/jobs": (403, DENIED.format("bigquery.jobs.create"))}
    jobs = looked(address)["jobs"]

    assert jobs.state == "fail"
    assert "bigquery.jobs.create is missing; the role roles/bigquery.jobUser has it" in jobs.found


def test_an_api_that_is_off(address: Address, front: Front) -> None:
    """What to type stands there."""
    front.errors = {"": (403, "BigQuery API has not been used in project 12 before or it is disabled.")}
    checks = looked(address)

    assert {check.state for check in checks.values()} == {"fail"}
    assert "gcloud services enable bigquery.googleapis.com" in checks["dataset"].found


def test_tables_that_are_missing(address: Address) -> None:
    """They are named, and what makes them."""
    run(address, "DROP TABLE reading")
    tables = looked(address)["tables"]

    assert (tables.state, tables.found) == ("fail", "missing: reading")
    assert "heatfleet cloud init" in tables.fix


@pytest.mark.parametrize(("version", "words", "fix"), [(0, "wants", "cloud init"), (999, "newer", "newer Heatfleet")])
def test_tables_of_another_version(version: int, words: str, fix: str, address: Address) -> None:
    """Older ones are to be brought up to date, and for newer ones this program is too old."""
    run(address, f"UPDATE head SET version = {version} WHERE TRUE")
    tables = looked(address)["tables"]

    assert tables.state == "fail"
    assert words in tables.found
    assert fix in tables.fix


def test_a_dataset_that_is_not_there(address: Address) -> None:
    """It is said, and what makes it."""
    checks = looked(replace(address, dataset="nowhere"))

    assert [*checks] == ["jobs", "dataset"]
    assert checks["dataset"].state == "fail"
    assert "heatfleet cloud init" in checks["dataset"].fix


def test_a_clock_that_is_off(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning first; so far off that readings would be taken for wrong ones, a failure."""
    for skew_s, state in ((30.0, "warn"), (-90.0, "fail")):
        now = time.time
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda skew_s=skew_s, now=now: now() + skew_s)
            jobs = looked(address)["jobs"]
        assert (jobs.state, jobs.fix) == (state, "set the clock; use NTP")


def test_a_server_that_does_not_answer(address: Address) -> None:
    """It is said, within seconds."""
    checks = looked(replace(address, rest="127.0.0.1:9"))

    assert {check.state for check in checks.values()} == {"fail"}
    assert "cannot be reached" in checks["dataset"].found


def test_no_credentials(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do stands there, and nothing is asked of anybody."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    (check,) = look(replace(address, rest=None, grpc=None))

    assert check.state == "fail"
    assert "credentials are missing" in check.found
