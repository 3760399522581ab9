"""Where readings, orders and keys are kept; a backend is chosen by the scheme of its URL."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from heatfleet.domain.checks import Check
from heatfleet.domain.cloud import Step
from heatfleet.domain.energy import DEFAULT_HOLD_MS
from heatfleet.errors import SetupError
from heatfleet.storage.base import Ages, Backup, FileCheck, KeyRing, Ledger, Store

if TYPE_CHECKING:
    from heatfleet.storage.bigquery.address import Address

STORES = ("sqlite:///path", "bigquery://PROJECT/DATASET")


def open_store(url: str, *, hold_ms: int = DEFAULT_HOLD_MS, writable: bool = True, ages: Ages | None = None) -> Store:
    """Open the store that the URL names; ``SetupError`` for an unknown scheme or a file that does not fit.

    ``sqlite:///relative/path`` and ``sqlite:////absolute/path`` name a file, ``bigquery://PROJECT/DATASET`` a dataset
    that was made before. With ``writable`` false the store only answers questions: it may be opened beside a server
    that writes. A writable one remembers ``ages`` for the rollup; without, they stay as they are.
    """
    # Imported only when asked for: a backend's library need not be there for the others to work.
    if is_bigquery(url):
        _bigquery_address(url)
        from heatfleet.storage.bigquery.store import BigQueryStore  # noqa: PLC0415

        return BigQueryStore(url, hold_ms=hold_ms, writable=writable, ages=ages)
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.store import SqliteStore  # noqa: PLC0415

    return SqliteStore(path, hold_ms=hold_ms, writable=writable, ages=ages)


def open_ledger(url: str, *, writable: bool = True) -> Ledger:
    """Open the ledger of orders that the URL names: ``postgresql://…``, or the one beside a store of SQLite.

    Raises ``SetupError`` for an unknown scheme and for tables or a file that do not fit, ``StoreUnavailable`` for a
    database that does not answer.
    """
    if _is_postgresql(url):
        from heatfleet.storage.postgresql.ledger import PostgresLedger  # noqa: PLC0415

        return PostgresLedger(url, writable=writable)
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.ledger import SqliteLedger  # noqa: PLC0415

    return SqliteLedger(path, writable=writable)


def open_key_ring(url: str, *, writable: bool = True) -> KeyRing:
    """Open the API keys that are kept in the ledger's database; see ``open_ledger``."""
    if _is_postgresql(url):
        from heatfleet.storage.postgresql.key_ring import PostgresKeyRing  # noqa: PLC0415

        return PostgresKeyRing(url, writable=writable)
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.key_ring import SqliteKeyRing  # noqa: PLC0415

    return SqliteKeyRing(path, writable=writable)


def check_postgresql(url: str) -> FileCheck:
    """Look at a database for orders and keys whose URL begins with ``postgresql:``, without changing anything."""
    _is_postgresql(url)
    from heatfleet.storage.postgresql.check import look  # noqa: PLC0415

    return look(url)


def back_up(url: str, folder: Path) -> Backup:
    """Copy the store to a folder that is new or empty, also while a server writes and rolls up.

    The copy is a whole store, as it was at one instant since the call, with every reading that was made durable before.
    It is on disk when this returns, under that name only if it is whole. Raises ``SetupError`` for a folder that is in
    use, and ``StoreUnavailable`` when the disk does not let us or a rollup does not come to its end.
    """
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite import backup  # noqa: PLC0415

    return backup.back_up(path, folder)


def check_files(url: str, *, quick: bool = False, figures: bool = False, ledger: bool = True) -> Iterator[FileCheck]:
    """Look at every file of the store, also beside a server; ``SetupError`` if there is no store.

    With ``quick`` not every reading and index is looked at. With ``figures`` they are made again in a copy beside the
    store, which takes time and as much room again, and compared. Without ``ledger`` orders and keys are kept elsewhere.
    """
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.check import Checker  # noqa: PLC0415
    from heatfleet.storage.sqlite.check_figures import check_figures  # noqa: PLC0415

    yield from Checker(path, quick=quick, ledger=ledger).files()
    if figures:
        yield from check_figures(path)


def is_bigquery(url: str) -> bool:
    """Whether the URL names a dataset of BigQuery."""
    return url.startswith("bigquery:")


def set_up_dataset(url: str, *, location: str | None = None, dry_run: bool = False) -> Iterator[Step]:
    """Make the dataset of a ``bigquery:`` URL and its tables, as far as they are not there.

    A new one lies in ``location``, by default the EU. ``SetupError`` when Google denies something,
    ``StoreUnavailable`` when it cannot be reached.
    """
    address = _bigquery_address(url)
    from heatfleet.storage.bigquery.bring_up import set_up  # noqa: PLC0415

    yield from set_up(address, location=location, dry_run=dry_run)


def look_at_dataset(url: str) -> Iterator[Check]:
    """Whether the dataset of a ``bigquery:`` URL is there and can be used."""
    address = _bigquery_address(url)
    from heatfleet.storage.bigquery.look import look  # noqa: PLC0415

    yield from look(address)


def sqlite_trouble() -> str:
    """What is wrong with the SQLite at work here, empty if nothing is."""
    from heatfleet.storage.sqlite.connect import sqlite_trouble as trouble  # noqa: PLC0415

    return trouble()


def sqlite_version() -> str:
    """The version of the SQLite at work here."""
    from heatfleet.storage.sqlite.connect import sqlite_version as version  # noqa: PLC0415

    return version()


def _is_postgresql(url: str) -> bool:
    """Whether the URL names PostgreSQL; ``SetupError`` if it does and the library for it is missing."""
    if not url.startswith("postgresql:"):
        return False
    if find_spec("psycopg") is None:
        raise SetupError('HEATFLEET_DB: PostgreSQL needs the extra postgresql: pip install "heatfleet[postgresql]"')
    return True


def _sqlite_path(url: str) -> str:
    parts = urlsplit(url)
    if is_bigquery(url):
        msg = "this is for the files of SQLite; BigQuery keeps what its tables were at any time of the last seven days"
        raise SetupError(msg)
    if parts.scheme != "sqlite":
        msg = f"HEATFLEET_STORE: there is no store for the scheme '{parts.scheme}:'; these exist: {', '.join(STORES)}"
        raise SetupError(msg)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or parts.fragment or not path:
        msg = (
            "HEATFLEET_STORE: write sqlite:///relative/path or sqlite:////absolute/path; %23 stands for # and %3F for ?"
        )
        raise SetupError(msg)
    return path


def _bigquery_address(url: str) -> "Address":
    # gRPC writes lines of its own to the log's stream, in no form of ours; what matters comes to us as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from heatfleet.storage.bigquery import connect  # noqa: PLC0415, F401
    except ImportError:
        raise SetupError(
            'HEATFLEET_STORE: BigQuery needs Google\'s libraries: pip install "heatfleet[google]"'
        ) from None
    from heatfleet.storage.bigquery.address import Address  # noqa: PLC0415

    return Address.of(url)
