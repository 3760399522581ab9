"""Looks at what a store needs in BigQuery: is it there, is it of our version, and may we use it."""

import time
from collections.abc import Iterator
from typing import Literal

from google.cloud import bigquery

from heatfleet.domain.checks import Check
from heatfleet.domain.cloud import JOB_PERMISSION, TABLE_PERMISSIONS, role_with
from heatfleet.errors import HeatfleetError
from heatfleet.storage.bigquery import bring_up
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.denial import FAILURES, denial

CALL_S = 10.0
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 60.0
"""Beyond a minute readings are refused as coming from the future, or taken for late ones; tokens end at five."""
_INIT = "`heatfleet cloud init` makes what is missing and brings older tables up to date"


def look(address: Address) -> Iterator[Check]:
    """Each check as soon as it is known; after one that leaves nothing to look at no others follow."""
    doing = f"{address.project}/{address.dataset}"
    try:
        client = query_client(address)
    except HeatfleetError as error:
        yield Check("dataset", "fail", str(error))
        return
    try:
        yield _clock(client)
        dataset = client.get_dataset(f"{address.project}.{address.dataset}", retry=bring_up.BRIEFLY, timeout=CALL_S)
        yield Check("dataset", "ok", f"{doing} in {dataset.location}")
        there = {table.table_id for table in client.list_tables(dataset, retry=bring_up.BRIEFLY, timeout=CALL_S)}
        yield _tables(client, there)
        yield _rights(client, address, sorted(there.intersection(bring_up.tables())))
    except FAILURES as error:
        told = denial(error, doing=doing, likely="bigquery.datasets.get")
        yield Check("dataset", "fail", str(told), _INIT if "is not there" in str(told) else "")
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _clock(client: bigquery.Client) -> Check:
    """Whether questions may be asked at all, and what time it is there."""
    began_s = time.time()
    try:
        (row,) = client.query(
            "SELECT CURRENT_TIMESTAMP() AS now", timeout=CALL_S, retry=bring_up.BRIEFLY, job_retry=None
        ).result(timeout=CALL_S)
    except FAILURES as error:
        return Check("jobs", "fail", str(denial(error, doing="a query", likely=JOB_PERMISSION)))
    ended_s, there_s = time.time(), row["now"].timestamp()
    skew_s = max(began_s - there_s, there_s - ended_s, 0.0)
    if skew_s > SKEW_WARN_S:
        state: Literal["fail", "warn"] = "fail" if skew_s > SKEW_FAIL_S else "warn"
        return Check(
            "jobs", state, f"queries run, but this clock is {skew_s:.0f} s off Google's", "set the clock; use NTP"
        )
    return Check("jobs", "ok", f"queries run; this clock is within {max(skew_s, ended_s - began_s):.1f} s of Google's")


def _tables(client: bigquery.Client, there: set[str]) -> Check:
    missing = [name for name in bring_up.tables() if name not in there]
    if missing:
        return Check("tables", "fail", f"missing: {', '.join(missing)}", _INIT)
    version, ours = bring_up.version_of(client), max(bring_up.scripts())
    if version < ours:
        return Check("tables", "fail", f"of version {version}, and this program wants {ours}", _INIT)
    if version > ours:
        return Check("tables", "fail", f"of version {version}, newer than this program knows", "use a newer Heatfleet")
    return Check("tables", "ok", f"all {len(bring_up.tables())}, of version {version}")


def _rights(client: bigquery.Client, address: Address, names: list[str]) -> Check:
    """What this account may not do with some table, whatever gave it the right."""
    missing: dict[str, list[str]] = {}
    for name in names:
        table = f"{address.project}.{address.dataset}.{name}"
        granted = client.test_iam_permissions(table, TABLE_PERMISSIONS, retry=bring_up.BRIEFLY, timeout=CALL_S)
        for permission in set(TABLE_PERMISSIONS).difference(granted.get("permissions", ())):
            missing.setdefault(permission, []).append(name)
    if not missing:
        return Check("rights", "ok", "this account may append, read and change readings")
    found = "; ".join(
        f"{permission} on {'all tables' if names == on else ', '.join(on)}"
        for permission, on in sorted(missing.items())
    )
    roles = dict.fromkeys(role_with(permission) for permission in sorted(missing))
    return Check("rights", "fail", f"missing: {found}", f"give it {', '.join(roles)} on the dataset {address.dataset}")
