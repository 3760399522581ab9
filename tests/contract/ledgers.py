"""The ledgers there are, which keep the API keys too, and orders to write into them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import apsw
import psycopg

from heatfleet.domain.access import Actor
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.storage.base import Ledger
from tests.postgres import shared_postgres

Rows = list[tuple[object, ...]]


class RefusedByHand(Exception):
    """A statement that the database itself refused."""


@dataclass(frozen=True)
class Backend:
    """A kind of ledger: how to give one an address in a fresh folder, and how to get at it without Heatfleet."""

    address: Callable[[Path], str]
    by_hand: Callable[[str, str], Rows]
    """Runs one statement of SQL on what is kept at an address, as somebody with a SQL prompt would."""
    held: Callable[[str], AbstractContextManager[None]]
    """For as long as it lasts, another holds what every change of keys needs."""
    patience: tuple[str, object]
    """The constant that says how long a change waits for it, and a shorter time."""
    all_written: Callable[[str], bytes]
    """All that is on disk."""
    no_more_lines: str
    """A statement after which the audit trail takes no more lines."""
    changes_of_the_trail: tuple[str, ...]
    """Statements that would change or remove a line of the trail."""
    digest: str = "x'00'"
    """How a BLOB is written."""


def sqlite_file(url: str) -> Path:
    return Path(f"{url.removeprefix('sqlite:///')}.d/ledger.db")


def sqlite_by_hand(url: str, statement: str) -> Rows:
    with closing(apsw.Connection(str(sqlite_file(url)))) as connection:
        connection.set_busy_timeout(30_000)
        try:
            return list(connection.execute(statement))
        except apsw.ConstraintError as error:
            raise RefusedByHand(str(error)) from error


@contextmanager
def sqlite_held(url: str) -> Iterator[None]:
    with closing(apsw.Connection(str(sqlite_file(url)))) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def postgres_by_hand(url: str, statement: str) -> Rows:
    try:
        return shared_postgres().execute(statement, url)
    except psycopg.errors.RaiseException as error:
        raise RefusedByHand(str(error)) from error


@contextmanager
def postgres_held(url: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE api_key IN SHARE MODE")
        yield
        connection.rollback()


def postgres_written(_: str) -> bytes:
    server = shared_postgres()
    server.as_admin("CHECKPOINT")
    return b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())


def sqlite_written(url: str) -> bytes:
    folder = sqlite_file(url).parents[1]
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# The table of backends.
LEDGERS = {
    "sqlite": Backend(
        address=lambda folder: f"sqlite:///{folder}/heatfleet.db",
        by_hand=sqlite_by_hand,
        held=sqlite_held,
        patience=("heatfleet.storage.sqlite.connect.BUSY_TIMEOUT_MS", 50),
        all_written=sqlite_written,
        no_more_lines="CREATE TRIGGER no_more BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no more'); END",
        changes_of_the_trail=(
            "UPDATE audit SET actor = 'somebody else'",
            "UPDATE OR REPLACE audit SET entry = entry + 1",
            "DELETE FROM audit",
            "INSERT OR REPLACE INTO audit SELECT entry, 1, actor, 'x', action, subject, '', result, NULL FROM audit",
            "REPLACE INTO audit SELECT * FROM audit WHERE entry = 2",
            "INSERT INTO audit SELECT * FROM audit WHERE true ON CONFLICT DO UPDATE SET actor = 'somebody else'",
        ),
    ),
    "postgresql": Backend(
        address=lambda _: shared_postgres().fresh_url(),
        by_hand=postgres_by_hand,
        held=postgres_held,
        patience=("heatfleet.storage.postgresql.connect._SESSION", "SET lock_timeout = '50ms'"),
        all_written=postgres_written,
        no_more_lines="ALTER TABLE audit ADD CHECK (entry < 0) NOT VALID",
        changes_of_the_trail=(
            "UPDATE audit SET actor = 'somebody else'",
            "UPDATE audit SET actor = 'somebody else' WHERE false",
            "DELETE FROM audit",
            "TRUNCATE audit",
            "INSERT INTO audit OVERRIDING SYSTEM VALUE TABLE audit ON CONFLICT (entry) DO UPDATE SET actor = 'x'",
            "WITH gone AS (DELETE FROM audit RETURNING entry) SELECT count(*) FROM gone",
        ),
        digest=r"'\x00'",
    ),
}

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
TTL_MS = 300_000
DAY_MS = 86_400_000
BY = Actor("4fGh71Qa", "192.0.2.7")

_numbers = count()


def order(device_id: str = "d1", at_ms: int = NOW_MS, *, product_id: str | None = "p", switch: bool = True) -> Command:
    """An order with an id of its own, given at a time."""
    return Command(f"c{next(_numbers)}", device_id, product_id, switch, at_ms, at_ms + TTL_MS)


def accept(ledger: Ledger, command: Command, *, by: Actor, idempotency_key: str | None = None) -> CommandRecord:
    """Write one order down."""
    [record] = ledger.accept_many([command], by=by, idempotency_key=idempotency_key)
    return record


def settle(ledger: Ledger, command_id: str, state: Literal["published", "failed"], at_ms: int) -> CommandRecord:
    """Note what became of one order."""
    [record] = ledger.settle_many([(command_id, state)], at_ms)
    return record


def publish(ledger: Ledger, command: Command, at_ms: int | None = None) -> CommandRecord:
    """Accept an order and settle it as published."""
    accept(ledger, command, by=BY)
    return settle(ledger, command.command_id, "published", command.issued_at_ms if at_ms is None else at_ms)


def unsettled(ledger: Ledger) -> int:
    """How many orders are only accepted."""
    return sum(entry.result == "accepted" for _, entry in ledger.audit(NOW_MS))


def devices(*device_ids: str) -> Audience:
    """Those who listen for these devices."""
    return Audience(frozenset(device_ids))
