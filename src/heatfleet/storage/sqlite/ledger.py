"""The memory of orders in one SQLite file, ``<store>.d/ledger.db``; ``schema/ledger_*.sql`` show its tables."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock

from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import NotFound
from heatfleet.storage.base import Settled
from heatfleet.storage.base.as_kept import KEY_LIFE_MS, accepted, order_columns, order_lines, record_of
from heatfleet.storage.sqlite import audit
from heatfleet.storage.sqlite.connect import damage_as_error, open_database, transaction, unavailable_as_error

COMMAND = "SELECT * FROM command_record WHERE command_id = :command_id"

COMMANDS = """SELECT command_record.* FROM json_each(?) AS wanted
JOIN command_record ON command_id = wanted.value ORDER BY wanted.key"""

COMMAND_IDS_OF_KEY = "SELECT command_ids FROM idempotency_key WHERE actor = ? AND key = ? AND used_at_ms > ?"

# A few at a time: each may stand for a thousand orders, and a fleet's come of age in the same minute.
FORGET_OLD_KEYS = """DELETE FROM idempotency_key
WHERE rowid IN (SELECT rowid FROM idempotency_key WHERE used_at_ms <= ? LIMIT 20)"""

REMEMBER_KEY = "INSERT OR REPLACE INTO idempotency_key VALUES (?, ?, ?, ?)"

ACCEPT = """INSERT INTO command (command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms, state)
VALUES (:command_id, :device_id, :product_id, :switch, :issued_at_ms, :expires_at_ms, 'accepted')"""

# Not 1, 2, 3: a sequence is at least the time of issue. A listener that comes back with the last sequence of a ledger
# that has been deleted since would otherwise hear nothing until the new ledger has counted as far.
SETTLE = """UPDATE command SET state = :state, settled_at_ms = :at_ms,
    sequence = CASE WHEN :state = 'published'
        THEN max(issued_at_ms, 1 + (SELECT coalesce(max(sequence), 0) FROM command)) END
WHERE command_id = :command_id AND state = 'accepted'"""

FAIL_UNSETTLED = """UPDATE command SET state = 'failed', settled_at_ms = :at_ms
WHERE state = 'accepted' AND rowid <= :left"""

LAST_SEQUENCE = "SELECT coalesce(max(sequence), 0) FROM command"

PUBLISHED = "SELECT * FROM command_record WHERE sequence > ? ORDER BY sequence LIMIT ?"

LAST_ORDER = """SELECT * FROM command_record
WHERE device_id = :device_id AND sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1"""

OPEN_ORDERS_OF_DEVICES = """SELECT * FROM command_record
WHERE sequence IN (SELECT (SELECT max(sequence) FROM command WHERE device_id = wanted.value)
                   FROM json_each(:device_ids) AS wanted)
  AND +sequence > :after AND expires_at_ms > :now_ms
ORDER BY sequence"""

# The plus signs keep SQLite from walking along all sequences: unexpired orders of one product are far fewer.
OPEN_ORDERS_OF_PRODUCT = """SELECT * FROM command_record AS it
WHERE product_id = :product_id AND +sequence > :after AND expires_at_ms > :now_ms
  AND +sequence = (SELECT max(sequence) FROM command WHERE device_id = it.device_id)
ORDER BY +sequence"""


class SqliteLedger:
    """Orders in SQLite, durable by a sync at every write. Any thread may call; calls take turns."""

    def __init__(self, store_path: str, *, writable: bool = True) -> None:
        self._path = Path(f"{store_path}.d") / "ledger.db"
        self._turn = Lock()
        self._db = open_database(self._path, "ledger", writable=writable)
        with self._access():
            # Rows only ever come after others: what is here now is of a ledger that was open before.
            self._left = self._db.execute("SELECT coalesce(max(rowid), 0) FROM command").get

    @property
    def is_shared(self) -> bool:
        """One server writes to the file."""
        return False

    def accept_many(
        self, commands: Sequence[Command], *, by: Actor, idempotency_key: str | None = None
    ) -> list[CommandRecord]:
        """Write orders down, unless the key already stands for equal ones that did not fail."""
        with self._access(), transaction(self._db):
            now_ms = max(command.issued_at_ms for command in commands)
            records = accepted(commands, self._of_key(by.name, idempotency_key, now_ms))
            new = [
                record.command for record, command in zip(records, commands, strict=True) if record.command is command
            ]
            if idempotency_key is not None and new:
                command_ids = json.dumps([record.command.command_id for record in records])
                self._db.execute(REMEMBER_KEY, (by.name, idempotency_key, command_ids, now_ms))
            self._db.executemany(ACCEPT, map(order_columns, new))
            audit.note(self._db, order_lines(commands, records, by))
        return records

    def settle_many(self, outcomes: Sequence[Settled], at_ms: int) -> list[CommandRecord]:
        """Note what became of accepted orders; one that is settled already stays as it is."""
        with self._access(), transaction(self._db):
            named = [{"command_id": command_id, "state": state, "at_ms": at_ms} for command_id, state in outcomes]
            self._db.executemany(SETTLE, named)
            records = self._all([command_id for command_id, _ in outcomes], at_ms)
            if len(records) < len(outcomes):
                raise NotFound("there is no order with this id; nothing was noted")
        return records

    def fail_unsettled(self, at_ms: int) -> int:
        """Settle as failed what was left accepted by the ledger that was open before."""
        with self._access(), transaction(self._db):
            self._db.execute(FAIL_UNSETTLED, {"at_ms": at_ms, "left": self._left})
            return self._db.changes()

    def note(self, *entries: AuditEntry) -> None:
        """Add lines to the audit trail."""
        with self._access(), transaction(self._db):
            audit.note(self._db, entries)

    def audit(
        self,
        now_ms: int,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        subject: str | None = None,
        actor: str | None = None,
        after: int = 0,
        limit: int = 1000,
        newest: bool = False,
    ) -> list[tuple[int, AuditEntry]]:
        """Lines of the audit trail."""
        asked: audit.Named = {"now_ms": now_ms, "since_ms": since_ms, "until_ms": until_ms}
        asked |= {"subject": subject, "actor": actor, "after": after}
        # Read beside the writer, over a connection of its own: a long look must not hold up an order.
        with unavailable_as_error(self._path), closing(open_database(self._path, "ledger", writable=False)) as beside:
            return audit.lines(beside, asked, limit=limit, newest=newest)

    def command(self, command_id: str, now_ms: int) -> CommandRecord | None:
        """One order as it stands now."""
        with self._access():
            return self._one(COMMAND, now_ms, command_id=command_id)

    def last_order(self, device_id: str, now_ms: int) -> CommandRecord | None:
        """The newest published order of a device."""
        with self._access():
            return self._one(LAST_ORDER, now_ms, device_id=device_id)

    def open_orders(self, audience: Audience, now_ms: int, *, after: int = 0) -> list[CommandRecord]:
        """The newest order of each device of the audience, where it is published and unexpired."""
        wanted = {"now_ms": now_ms, "after": after}
        with self._access():
            if audience.product_id is not None:
                rows = self._db.execute(OPEN_ORDERS_OF_PRODUCT, {**wanted, "product_id": audience.product_id})
            else:
                device_ids = json.dumps(sorted(audience.device_ids))
                rows = self._db.execute(OPEN_ORDERS_OF_DEVICES, {**wanted, "device_ids": device_ids})
            return [record_of(row, now_ms) for row in rows]

    def last_sequence(self) -> int:
        """The greatest sequence so far."""
        with self._access():
            return int(self._db.execute(LAST_SEQUENCE).get)

    def published(self, now_ms: int, *, after: int, limit: int = 1000) -> list[CommandRecord]:
        """The first published orders with a sequence above ``after``."""
        with self._access():
            return [record_of(row, now_ms) for row in self._db.execute(PUBLISHED, (after, limit))]

    def close(self) -> None:
        """Let go of the file."""
        with self._access():
            self._db.close()

    def _of_key(self, actor: str, key: str | None, now_ms: int) -> list[CommandRecord]:
        """The orders that an actor's key stands for, none for a new one or without one."""
        if key is None:
            return []
        forgotten_ms = now_ms - KEY_LIFE_MS
        self._db.execute(FORGET_OLD_KEYS, (forgotten_ms,))
        command_ids = self._db.execute(COMMAND_IDS_OF_KEY, (actor, key, forgotten_ms)).get
        return [] if command_ids is None else self._all(json.loads(command_ids), now_ms)

    def _all(self, command_ids: Sequence[str], now_ms: int) -> list[CommandRecord]:
        return [record_of(row, now_ms) for row in self._db.execute(COMMANDS, (json.dumps(command_ids),))]

    def _one(self, query: str, now_ms: int, **named: str) -> CommandRecord | None:
        row = self._db.execute(query, named).fetchone()
        return None if row is None else record_of(row, now_ms)

    @contextmanager
    def _access(self) -> Iterator[None]:
        with self._turn, unavailable_as_error(self._path), damage_as_error(self._path):
            yield
