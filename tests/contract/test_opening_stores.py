"""How every kind of store is opened, and what keeps it from being opened."""

from contextlib import closing

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import SetupError
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages
from tests.contract.stores import in_files
from tests.contract.test_stores import HOLD_MS, MIDNIGHT_MS, NOW_MS, append
from tests.oracle import defined, told


@pytest.fixture
def url(store_url: str) -> str:
    """The address of an empty store of each kind."""
    return store_url


@in_files
def test_a_second_server_is_refused(url: str) -> None:
    """One server appends to a store; a second one is told so at once, and the first goes on."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as first:
        with pytest.raises(SetupError, match="another server"):
            open_store(url, hold_ms=HOLD_MS)
        append(first, [Reading("a", "p", POWER, MIDNIGHT_MS, 1.0)])
        first.rollup(NOW_MS)

        assert first.device("a") is not None


def test_another_hold_needs_a_rebuild(url: str) -> None:
    """Figures reckoned with one hold are never mixed with another: the store says so until they are rebuilt."""
    said = [Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)]
    with closing(open_store(url, hold_ms=2 * HOLD_MS)) as store:
        append(store, said)
        store.rollup(NOW_MS)
    with pytest.raises(SetupError, match="--rebuild"):
        open_store(url, hold_ms=HOLD_MS)
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        with pytest.raises(SetupError, match="--rebuild"):
            store.rollup(NOW_MS)
        store.rebuild(NOW_MS)

        assert defined(said, NOW_MS) == told(store.figures())


def test_a_store_that_is_not_there_is_not_made_by_looking(url: str) -> None:
    """Opening for reading only names the command that makes a database."""
    elsewhere = url.replace("/dataset_", "/another_")
    with pytest.raises(SetupError, match=r"heatfleet (db|cloud) init"):
        open_store(elsewhere, hold_ms=HOLD_MS, writable=False)


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite://host/x", "sqlite:", "heatfleet.db", "sqlite:///a?b", "sqlite:///a#b"]
)
def test_an_address_without_a_store_names_those_that_exist(url: str) -> None:
    """An unknown scheme or a malformed path is refused with the forms that work."""
    with pytest.raises(SetupError, match="sqlite:///"):
        open_store(url)


@pytest.mark.parametrize("url", ["bigquery:", "bigquery://project", "bigquery://project/set/more", "bigquery://P/set"])
def test_an_address_of_bigquery_names_project_and_dataset(url: str) -> None:
    """A malformed address is refused with the form that works."""
    with pytest.raises(SetupError, match="bigquery://PROJECT/DATASET"):
        open_store(url)


def test_what_bigquery_does_not_do_is_said() -> None:
    """A setting that BigQuery would not heed is refused, before anything is asked of it."""
    with pytest.raises(SetupError, match="HEATFLEET_ARCHIVE_AFTER_DAYS is for SQLite"):
        open_store("bigquery://project-1/dataset", ages=Ages(archive_after_days=1))
