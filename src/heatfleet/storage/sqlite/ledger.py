"""The memory of orders in one SQLite file, ``<store>.d/ledger.db``; ``schema/ledger_001.sql`` shows its tables."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import KeyReused, NotFound
from heatfleet.storage.sqlite.connect import damage_as_error, open_database, transaction, unavailable_as_error

KEY_LIFE_MS = 24 * 3_600_000
"""How long an Idempotency-Key stands for its order."""

COMMAND = "SELECT * FROM command_record WHERE command_id = :command_id"

COMMAND_OF_KEY = """SELECT * FROM command_record
WHERE command_id = (SELECT command_id FROM idempotency_key WHERE key = :key)"""

FORGET_OLD_KEYS = "DELETE FROM idempotency_key WHERE used_at_ms <= :now_ms - :life_ms"

REMEMBER_KEY = "INSERT OR REPLACE INTO idempotency_key VALUES (:key, :command_id, :now_ms)"

ACCEPT = """INSERT INTO command (command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms, state)
VALUES (:command_id, :device_id, :product_id, :switch, :issued_at_ms, :expires_at_ms, 'accepted')"""

# Not 1, 2, 3: a sequence is at least the time of issue. A listener that comes back with the last sequence of a ledger
# that has been deleted since would otherwise hear nothing until the new ledger has counted as far.
SETTLE = """UPDATE command SET state = :state, settled_at_ms = :at_ms,
    sequence = CASE WHEN :state = 'published'
        THEN max(issued_at_ms, 1 + (SELECT coalesce(max(sequence), 0) FROM command)) END
WHERE command_id = :command_id AND state = 'accepted'"""

FAIL_UNSETTLED = "UPDATE command SET state = 'failed', settled_at_ms = :at_ms WHERE state = 'accepted'"

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

    def accept(self, command: Command, *, idempotency_key: str | None = None) -> CommandRecord:
        """Write the order down, unless the key already stands for an equal one that did not fail."""
        with self._access(), transaction(self._db):
            if idempotency_key is not None:
                self._db.execute(FORGET_OLD_KEYS, {"now_ms": command.issued_at_ms, "life_ms": KEY_LIFE_MS})
                earlier = self._one(COMMAND_OF_KEY, command.issued_at_ms, key=idempotency_key)
                if earlier is not None:
                    asked, known = command, earlier.command
                    if (asked.device_id, asked.switch) != (known.device_id, known.switch):
                        raise KeyReused("this Idempotency-Key was used for another order; take a new key")
                    if earlier.state != "failed":
                        return earlier
                named = {"key": idempotency_key, "command_id": command.command_id}
                self._db.execute(REMEMBER_KEY, {**named, "now_ms": command.issued_at_ms})
            self._db.execute(ACCEPT, _columns(command))
        return CommandRecord(command, "accepted", 0, None)

    def settle(self, command_id: str, state: Literal["published", "failed"], at_ms: int) -> CommandRecord:
        """Note what became of an accepted order; one that is settled already stays as it is."""
        with self._access(), transaction(self._db):
            self._db.execute(SETTLE, {"command_id": command_id, "state": state, "at_ms": at_ms})
            record = self._one(COMMAND, at_ms, command_id=command_id)
        if record is None:
            raise NotFound("there is no order with this id; nothing was noted")
        return record

    def fail_unsettled(self, at_ms: int) -> int:
        """Settle every order that is still only accepted as failed; gives their number."""
        with self._access(), transaction(self._db):
            self._db.execute(FAIL_UNSETTLED, {"at_ms": at_ms})
            return self._db.changes()

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
            return [_record(row, now_ms) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        with self._access():
            self._db.close()

    def _one(self, query: str, now_ms: int, **named: str) -> CommandRecord | None:
        row = self._db.execute(query, named).fetchone()
        return None if row is None else _record(row, now_ms)

    @contextmanager
    def _access(self) -> Iterator[None]:
        with self._turn, unavailable_as_error(self._path), damage_as_error(self._path):
            yield


def _columns(command: Command) -> dict[str, str | int | None]:
    return {
        "command_id": command.command_id,
        "device_id": command.device_id,
        "product_id": command.product_id,
        "switch": command.switch,
        "issued_at_ms": command.issued_at_ms,
        "expires_at_ms": command.expires_at_ms,
    }


def _record(row: tuple[Any, ...], now_ms: int) -> CommandRecord:
    """A row of ``command_record`` as it stands now: time and newer orders change the state that was written."""
    *order, state, sequence, settled_at_ms, superseded = row
    command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms = order
    if superseded:
        state = "superseded"
    elif state == "published" and expires_at_ms <= now_ms:
        state = "expired"
    command = Command(command_id, device_id, product_id, bool(switch), issued_at_ms, expires_at_ms)
    return CommandRecord(command, state, sequence or 0, settled_at_ms)
