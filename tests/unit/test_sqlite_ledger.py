"""The ledger in SQLite: who may open the file, and how people read it."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.commands import Command
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
FIRST = Command("c1", "d1", None, True, NOW_MS, NOW_MS + 300_000)
SECOND = Command("c2", "d1", "p", False, NOW_MS + 1_000, NOW_MS + 301_000)
THIRD = Command("c3", "d2", "p", True, NOW_MS, NOW_MS + 300_000)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a ledger that does not exist yet."""
    return f"sqlite:///{tmp_path}/heatfleet.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where that ledger will be."""
    return tmp_path / "heatfleet.db.d" / "ledger.db"


def publish(ledger: Ledger, command: Command, at_ms: int) -> None:
    """Accept an order and settle it as published."""
    ledger.accept(command)
    ledger.settle(command.command_id, "published", at_ms)


def test_a_reader_beside_the_writer(url: str) -> None:
    """A ledger may be read while a server writes it; a reader cannot write, and there must be something to read."""
    with pytest.raises(SetupError):
        open_ledger(url, writable=False)
    with closing(open_ledger(url)) as writer, closing(open_ledger(url, writable=False)) as reader:
        record = writer.accept(FIRST)

        assert record == reader.command("c1", NOW_MS)
        with pytest.raises(StoreUnavailable):
            reader.accept(SECOND)


def test_a_newer_file_is_refused(url: str, file: Path) -> None:
    """A ledger that a later version has changed is not touched."""
    open_ledger(url).close()
    with closing(apsw.Connection(str(file))) as connection:
        connection.pragma("user_version", 999)

    with pytest.raises(SetupError, match="newer"):
        open_ledger(url)


def test_orders_are_read_with_plain_sql(url: str, file: Path) -> None:
    """The view ``command_now`` tells every order with its state and readable times."""
    with closing(open_ledger(url)) as ledger:
        publish(ledger, FIRST, NOW_MS + 7)
        publish(ledger, SECOND, NOW_MS + 1_000)
        ledger.accept(THIRD)
    with closing(apsw.Connection(str(file))) as connection:
        query = "SELECT device_id, product_id, switch, state, issued_at, settled_at FROM command_now"
        rows = list(connection.execute(query))
    expected = [
        ("d1", None, "on", "superseded", "2026-01-10T18:00:00.000Z", "2026-01-10T18:00:00.007Z"),
        ("d1", "p", "off", "expired", "2026-01-10T18:00:01.000Z", "2026-01-10T18:00:01.000Z"),
        ("d2", "p", "on", "accepted", "2026-01-10T18:00:00.000Z", None),
    ]

    assert expected == rows
