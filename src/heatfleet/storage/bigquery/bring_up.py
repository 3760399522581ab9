"""The dataset and its tables: made where they are missing, brought to the version of this program, else left alone."""

import re
from collections.abc import Iterator
from typing import Literal

from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from heatfleet.domain.cloud import LOCATION, Step
from heatfleet.errors import SetupError
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import SCHEMA_FOLDER, query_client
from heatfleet.storage.bigquery.denial import FAILURES, denial
from heatfleet.storage.bigquery.setup import create_tables

CALL_S = 30.0
BRIEFLY = DEFAULT_RETRY.with_timeout(2.0)
"""Somebody looks on: by itself the client tries again for ten minutes."""
_VERSION = "SELECT MAX(version) AS version FROM head"
_find_tables = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE).findall


def scripts() -> dict[int, str]:
    """The SQL of each version of the schema, in order."""
    return {int(path.stem): path.read_text(encoding="utf-8") for path in sorted(SCHEMA_FOLDER.glob("*.sql"))}


def tables() -> list[str]:
    """The tables of the newest version, in the order in which they are made."""
    return [name for sql in scripts().values() for name in _find_tables(sql)]


def version_of(client: bigquery.Client) -> int:
    """The version of the tables that are there, 0 if there are none; what Google denies is raised as it comes."""
    try:
        (row,) = client.query(_VERSION, timeout=CALL_S, retry=BRIEFLY, job_retry=None).result(timeout=CALL_S)
    except exceptions.NotFound:
        return 0
    return int(row["version"] or 0)


def set_up(address: Address, *, location: str | None = None, dry_run: bool = False) -> Iterator[Step]:
    """``create_tables``, telling of each thing how it was found; ``dry_run`` makes nothing.

    A dataset in another location than asked for ``differs``, and nothing is made in it. ``SetupError`` when Google
    denies something, with the permission that is missing; ``StoreUnavailable`` when it cannot be reached.
    """
    doing = f"dataset {address.dataset}"
    client = query_client(address)
    try:
        found = _location_of(client, address)
        if found and location and found.upper() != location.upper():
            yield Step("dataset", address.dataset, "differs", _MOVED.format(found, location))
            return
        there = _tables_of(client, address) if found else set()
        known = version_of(client) if "head" in there else 0
        if known > max(scripts()):
            raise SetupError(f"{doing}: its tables are of a newer Heatfleet (version {known}); use that one")
        if not dry_run and (known < max(scripts()) or not there.issuperset(tables())):
            doing = f"tables of {address.dataset}"
            create_tables(client, address, location or LOCATION)
    except FAILURES as error:
        raise denial(error, doing=doing, likely="bigquery.datasets.create") from error
    finally:
        client.close()  # type: ignore[no-untyped-call]
    absent: Literal["missing", "made"] = "missing" if dry_run else "made"
    yield Step("dataset", address.dataset, "there" if found else absent, f"in {found or location or LOCATION}")
    for name in tables():
        yield Step("table", name, "there" if name in there else absent)


_MOVED = "it lies in {}, not in {}: a dataset cannot be moved; name the one it is in, or another dataset"


def _location_of(client: bigquery.Client, address: Address) -> str:
    """Where the dataset is, empty if it is not."""
    try:
        return str(client.get_dataset(f"{address.project}.{address.dataset}", retry=BRIEFLY, timeout=CALL_S).location)
    except exceptions.NotFound:
        return ""


def _tables_of(client: bigquery.Client, address: Address) -> set[str]:
    dataset = f"{address.project}.{address.dataset}"
    return {table.table_id for table in client.list_tables(dataset, retry=BRIEFLY, timeout=CALL_S)}
