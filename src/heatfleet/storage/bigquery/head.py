"""The one row that says how far the figures have come, and whose turn it is to make them."""

from datetime import UTC, datetime
from typing import NamedTuple

from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.queries import Kind, errors_as_ours

VERSION = 1
"""Of the tables, as ``schema/*.sql`` makes them."""
LOOK = Kind("look", 0, 5)
"""Probes wait for it, and others behind them: the client by itself would try for ten minutes."""
_TYPES = dict.fromkeys(("taken_until", "swept_until", "lease_until"), "TIMESTAMP") | {"lease_holder": "STRING"}


class Head(NamedTuple):
    """The row; see ``schema/001.sql``."""

    version: int
    hold_ms: int
    as_of_ms: int
    taken_until: datetime
    swept_until: datetime
    kept_from_ms: int
    retention_days: int
    devices: int
    lease_holder: str
    lease_until: datetime


def read_head(client: bigquery.Client, address: Address) -> Head:
    """The row as it is now. This is no query, and costs nothing.

    Raises ``SetupError`` if the tables are of another version, ``StoreUnavailable`` if they are not there.
    """
    table = bigquery.TableReference.from_string(f"{address.project}.{address.dataset}.head")
    fields = [bigquery.SchemaField(name, _TYPES.get(name, "INT64")) for name in Head._fields]
    retry = DEFAULT_RETRY.with_timeout(LOOK.timeout_s)
    with errors_as_ours(LOOK):
        found = client.list_rows(table, selected_fields=fields, timeout=LOOK.timeout_s, retry=retry)
        rows = [Head(*row.values()) for row in found]
    if not rows:
        raise StoreUnavailable("the store in BigQuery is not ready; run `heatfleet cloud init`", retry_after_s=30)
    head = rows[0]
    if head.version != VERSION:
        msg = (
            f"the tables in BigQuery are of version {head.version}, and this program knows {VERSION};"
            " run `heatfleet cloud init` of the newer one, or that program"
        )
        raise SetupError(msg)
    return head


def expect_hold(head: Head, hold_ms: int) -> None:
    """Raise ``SetupError`` if the figures were reckoned with another hold."""
    if head.hold_ms not in (0, hold_ms):
        msg = (
            f"HEATFLEET_MAX_HOLD_S is {hold_ms / 1000:g}, but the figures here stand for {head.hold_ms / 1000:g};"
            " set it back, or run `heatfleet rollup --rebuild` to reckon them all anew"
        )
        raise SetupError(msg)


def instant(time_ms: int) -> datetime:
    """Milliseconds since the epoch as BigQuery's TIMESTAMP."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def milliseconds(time: datetime) -> int:
    """A TIMESTAMP as milliseconds since the epoch."""
    return round(time.timestamp() * 1000)
