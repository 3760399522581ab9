"""Where readings, orders and keys are kept; a backend is chosen by the scheme of its URL."""

from urllib.parse import unquote, urlsplit

from heatfleet.domain.energy import DEFAULT_HOLD_MS
from heatfleet.errors import SetupError
from heatfleet.storage.base import Ages, KeyRing, Ledger, Store

STORE_SCHEMES = ("sqlite",)


def open_store(url: str, *, hold_ms: int = DEFAULT_HOLD_MS, writable: bool = True, ages: Ages | None = None) -> Store:
    """Open the store that the URL names; ``SetupError`` for an unknown scheme or a file that does not fit.

    ``sqlite:///relative/path`` and ``sqlite:////absolute/path`` name a file. With ``writable`` false the store only
    answers questions: it may be opened beside a server that writes. A writable one remembers ``ages`` for the rollup;
    without, they stay as they are.
    """
    path = _sqlite_path(url)
    # Imported only when asked for: a backend's library need not be there for the others to work.
    from heatfleet.storage.sqlite.store import SqliteStore  # noqa: PLC0415

    return SqliteStore(path, hold_ms=hold_ms, writable=writable, ages=ages)


def open_ledger(url: str, *, writable: bool = True) -> Ledger:
    """Open the ledger of orders that lives beside the store of this URL."""
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.ledger import SqliteLedger  # noqa: PLC0415

    return SqliteLedger(path, writable=writable)


def open_key_ring(url: str, *, writable: bool = True) -> KeyRing:
    """Open the API keys that are kept in the ledger's database."""
    path = _sqlite_path(url)
    from heatfleet.storage.sqlite.key_ring import SqliteKeyRing  # noqa: PLC0415

    return SqliteKeyRing(path, writable=writable)


def _sqlite_path(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in STORE_SCHEMES:
        known = ", ".join(f"{scheme}:///path" for scheme in STORE_SCHEMES)
        msg = f"HEATFLEET_STORE: there is no store for the scheme '{parts.scheme}:'; these exist: {known}"
        raise SetupError(msg)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or parts.fragment or not path:
        msg = (
            "HEATFLEET_STORE: write sqlite:///relative/path or sqlite:////absolute/path; %23 stands for # and %3F for ?"
        )
        raise SetupError(msg)
    return path
