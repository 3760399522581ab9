"""The ledger in SQLite: who may open the file, and how people read it."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.access import LOCAL, Actor
from heatfleet.domain.commands import Command
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger
from heatfleet.storage.sqlite.connect import APPLICATION_ID, _scripts
from tests.contract.ledgers import accept, settle

BY = Actor(LOCAL, "127.0.0.1")
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
    accept(ledger, command, by=BY)
    settle(ledger, command.command_id, "published", at_ms)


def test_a_reader_beside_the_writer(url: str) -> None:
    """A ledger may be read while a server writes it; a reader cannot write, and there must be something to read."""
    with pytest.raises(SetupError):
        open_ledger(url, writable=False)
    with closing(open_ledger(url)) as writer, closing(open_ledger(url, writable=False)) as reader:
        record = accept(writer, FIRST, by=BY)

        assert record == reader.command("c1", NOW_MS)
        with pytest.raises(StoreUnavailable):
            accept(reader, SECOND, by=BY)


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
        accept(ledger, THIRD, by=BY)
    with closing(apsw.Connection(str(file))) as connection:
        query = "SELECT device_id, product_id, switch, state, issued_at, settled_at FROM command_now"
        rows = list(connection.execute(query))
    expected = [
        ("d1", None, "on", "superseded", "2026-01-10T18:00:00.000Z", "2026-01-10T18:00:00.007Z"),
        ("d1", "p", "off", "expired", "2026-01-10T18:00:01.000Z", "2026-01-10T18:00:01.000Z"),
        ("d2", "p", "on", "accepted", "2026-01-10T18:00:00.000Z", None),
    ]

    assert expected == rows


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE entry = 1",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit",
        "REPLACE INTO audit VALUES (1, 0, '', '', '', '', '', '', NULL)",
        "INSERT INTO audit VALUES (1, 0, '', '', '', '', '', '', NULL) ON CONFLICT DO UPDATE SET actor = 'nobody'",
    ],
)
def test_the_audit_trail_is_only_added_to(url: str, file: Path, change: str) -> None:
    """The file itself refuses to change, replace or delete a line, whoever has it open."""
    with closing(open_ledger(url)) as ledger:
        accept(ledger, FIRST, by=BY)
        before = ledger.audit(NOW_MS)
        with closing(apsw.Connection(str(file))) as connection:
            with pytest.raises(apsw.ConstraintError, match="only ever added to"):
                connection.execute(change)
            assert before == ledger.audit(NOW_MS)


def test_an_order_that_cannot_be_noted_is_not_accepted(url: str, file: Path) -> None:
    """There is no order without its line in the audit trail: one transaction has both or neither."""
    with closing(open_ledger(url)) as ledger:
        with closing(apsw.Connection(str(file))) as connection:
            connection.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'full'); END")
        with pytest.raises(StoreUnavailable):
            accept(ledger, FIRST, by=BY, idempotency_key="k")
        assert ledger.command("c1", NOW_MS) is None
        with closing(apsw.Connection(str(file))) as connection:
            connection.execute("DROP TRIGGER full")

        assert FIRST == accept(ledger, FIRST, by=BY, idempotency_key="k").command


def test_looking_into_the_trail_holds_up_nobody(url: str, file: Path) -> None:
    """The trail is read beside a writer in the midst of a transaction, without what is not yet committed."""
    with closing(open_ledger(url)) as ledger:
        accept(ledger, FIRST, by=BY)
        with closing(apsw.Connection(str(file))) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO audit VALUES (NULL, 0, '', '', '', '', '', '', NULL)")

            assert ["c1"] == [entry.command_id for _, entry in ledger.audit(NOW_MS)]


def test_keys_of_before_the_upgrade_belong_to_local(url: str, file: Path) -> None:
    """An order given before there were API keys is not sent twice when it is repeated after the upgrade."""
    file.parent.mkdir()
    with closing(apsw.Connection(str(file))) as connection:
        connection.execute(_scripts("ledger")[0])
        columns = "command_id, device_id, switch, issued_at_ms, expires_at_ms, state"
        connection.execute(
            f"INSERT INTO command ({columns}) VALUES ('c0', 'd1', 1, ?, ?, 'accepted')", (NOW_MS, NOW_MS)
        )
        connection.execute("INSERT INTO idempotency_key VALUES ('k', 'c0', ?)", (NOW_MS,))
        connection.pragma("user_version", 1)
        connection.pragma("application_id", APPLICATION_ID)
    with closing(open_ledger(url)) as ledger:
        assert "c0" == accept(ledger, FIRST, by=BY, idempotency_key="k").command.command_id
        stranger = accept(ledger, THIRD, by=Actor("4fGh71Qa", BY.address), idempotency_key="k")
        assert "c3" == stranger.command.command_id
