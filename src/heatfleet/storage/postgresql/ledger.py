"""The memory of orders in PostgreSQL, shared by any number of servers; ``schema/*.sql`` show its tables."""

from collections.abc import Mapping, Sequence
from threading import Lock

from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import NotFound
from heatfleet.storage.base import Settled
from heatfleet.storage.base.as_kept import KEY_LIFE_MS, accepted, order_lines, record_of
from heatfleet.storage.postgresql import audit
from heatfleet.storage.postgresql.connect import Tx
from heatfleet.storage.postgresql.owner import Owner
from heatfleet.storage.postgresql.schema import open_database

TIME_MAX_MS = 2**62

COMMAND = "SELECT * FROM command_record WHERE command_id = %(command_id)s"

COMMANDS = """SELECT command_record.* FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (id, place)
JOIN command_record ON command_id = wanted.id ORDER BY place"""

# A few at a time: each may stand for a thousand orders, and a fleet's come of age in the same minute.
FORGET_OLD_KEYS = """DELETE FROM idempotency_key WHERE (actor, key) IN (
    SELECT actor, key FROM idempotency_key WHERE used_at_ms <= %s LIMIT 20 FOR UPDATE SKIP LOCKED)"""

# Gives the row of a key, made if there was none, and holds it: of several requests with one key the others wait here
# until the first has written, in whichever server, and then find what it wrote.
HOLD_KEY = """INSERT INTO idempotency_key VALUES (%s, %s, '{}', %s)
ON CONFLICT (actor, key) DO UPDATE SET actor = excluded.actor RETURNING command_ids, used_at_ms"""

REMEMBER_KEY = "UPDATE idempotency_key SET command_ids = %s, used_at_ms = %s WHERE actor = %s AND key = %s"

ACCEPT = """INSERT INTO command
    (command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms, state, owner)
SELECT new.*, 'accepted', %s
FROM unnest(%s::text[], %s::text[], %s::text[], %s::boolean[], %s::bigint[], %s::bigint[]) AS new"""

# Whoever settles holds this row until all is visible: so sequences become visible in ascending order, and nobody waits
# in a circle for the rows of orders.
TURN = "SELECT last FROM order_sequence FOR UPDATE"

# Not 1, 2, 3: a sequence is at least the time of issue, as in every ledger. Each is the greater of that and of one more
# than the one before it; here for all at once: a place among them, and what is greatest without it.
SETTLE = """UPDATE command SET state = new.state, sequence = new.sequence, settled_at_ms = %(at_ms)s
FROM (SELECT it.command_id, said.state,
             CASE WHEN said.state = 'published' THEN place + greatest(
                 %(last)s, max(issued_at_ms - place) OVER (PARTITION BY said.state ORDER BY place)) END AS sequence
      FROM unnest(%(command_ids)s::text[], %(states)s::text[]) WITH ORDINALITY AS said (command_id, state, place)
      JOIN command AS it ON it.command_id = said.command_id) AS new
WHERE command.command_id = new.command_id AND command.state = 'accepted'
RETURNING command.sequence"""

SEQUENCES_GIVEN = "UPDATE order_sequence SET last = %s"

FAIL_UNSETTLED = """UPDATE command SET state = 'failed', settled_at_ms = %(at_ms)s
WHERE state = 'accepted' AND command_id <> ALL (%(under_way)s::text[])
  AND (owner = %(owner)s OR owner NOT IN (SELECT owner FROM living_owner))"""

LAST_ORDER = """SELECT * FROM command_record
WHERE device_id = %(device_id)s AND sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1"""

OPEN_ORDERS_OF_DEVICES = """SELECT command_record.* FROM unnest(%(device_ids)s::text[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT max(sequence) AS sequence FROM command WHERE device_id = wanted.id) AS newest
JOIN command_record ON command_record.sequence = newest.sequence
WHERE newest.sequence > %(after)s AND expires_at_ms > %(now_ms)s ORDER BY newest.sequence"""

OPEN_ORDERS_OF_PRODUCT = """SELECT * FROM command_record AS it
WHERE product_id = %(product_id)s AND sequence > %(after)s AND expires_at_ms > %(now_ms)s
  AND sequence = (SELECT max(sequence) FROM command WHERE device_id = it.device_id)
ORDER BY sequence"""

PUBLISHED = "SELECT * FROM command_record WHERE sequence > %s ORDER BY sequence LIMIT %s"


class PostgresLedger:
    """Orders in PostgreSQL, durable by its commits. Any thread may call, and any server."""

    def __init__(self, url: str, *, writable: bool = True) -> None:
        self._database = open_database(url, writable=writable)
        self._owner = Owner(self._database)
        self._turn = Lock()
        """Held by whoever accepts orders, and by whoever looks for those that nobody has under way."""
        self._under_way: set[str] = set()
        """Orders that were accepted here and whose end is still to come."""

    @property
    def is_shared(self) -> bool:
        """Other servers write here too."""
        return True

    def accept_many(
        self, commands: Sequence[Command], *, by: Actor, idempotency_key: str | None = None
    ) -> list[CommandRecord]:
        """Write orders down, unless the key already stands for equal ones that did not fail."""
        with self._turn:
            owner = self._owner.hold()
            with self._database.transaction() as tx:
                now_ms = max(command.issued_at_ms for command in commands)
                records = accepted(commands, self._of_key(tx, by.name, idempotency_key, now_ms))
                new = [it.command for it, command in zip(records, commands, strict=True) if it.command is command]
                if idempotency_key is not None and new:
                    command_ids = [record.command.command_id for record in records]
                    tx.execute(REMEMBER_KEY, [command_ids, now_ms, by.name, idempotency_key])
                _insert(tx, new, owner)
                audit.note(tx, order_lines(commands, records, by))
            self._under_way.update(command.command_id for command in new)
        return records

    def settle_many(self, outcomes: Sequence[Settled], at_ms: int) -> list[CommandRecord]:
        """Note what became of accepted orders; one that is settled already stays as it is."""
        command_ids = [command_id for command_id, _ in outcomes]
        states = [state for _, state in outcomes]
        try:
            with self._database.transaction() as tx:
                [last] = tx.execute(TURN).fetchone() or (0,)
                said = {"command_ids": command_ids, "states": states, "at_ms": at_ms, "last": last}
                given = [sequence for (sequence,) in tx.execute(SETTLE, said) if sequence is not None]
                tx.execute(SEQUENCES_GIVEN, [max(given, default=last)])
                records = _all(tx, command_ids, at_ms)
                if len(records) < len(outcomes):
                    raise NotFound("there is no order with this id; nothing was noted")
        finally:
            self._under_way.difference_update(command_ids)  # whoever gave them was told, be it that it went wrong
        return records

    def fail_unsettled(self, at_ms: int) -> int:
        """Settle as failed what nobody has under way."""
        with self._turn:
            self._owner.hold()
            with self._database.transaction() as tx:
                return self._fail_unsettled(tx, at_ms)

    def note(self, *entries: AuditEntry) -> None:
        """Add lines to the audit trail."""
        with self._database.transaction() as tx:
            audit.note(tx, entries)

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
        end_ms = TIME_MAX_MS if until_ms is None else until_ms
        asked: audit.Named = {"now_ms": now_ms, "since_ms": since_ms, "until_ms": end_ms}
        asked |= {"subject": subject, "actor": actor, "after": after}
        with self._database.connection() as connection:
            return audit.lines(connection, asked, limit=limit, newest=newest)

    def command(self, command_id: str, now_ms: int) -> CommandRecord | None:
        """One order as it stands now."""
        return next(iter(self._records(COMMAND, now_ms, {"command_id": command_id})), None)

    def last_order(self, device_id: str, now_ms: int) -> CommandRecord | None:
        """The newest published order of a device."""
        return next(iter(self._records(LAST_ORDER, now_ms, {"device_id": device_id})), None)

    def open_orders(self, audience: Audience, now_ms: int, *, after: int = 0) -> list[CommandRecord]:
        """The newest order of each device of the audience, where it is published and unexpired."""
        wanted = {"now_ms": now_ms, "after": after}
        if audience.product_id is not None:
            return self._records(OPEN_ORDERS_OF_PRODUCT, now_ms, {**wanted, "product_id": audience.product_id})
        return self._records(OPEN_ORDERS_OF_DEVICES, now_ms, {**wanted, "device_ids": sorted(audience.device_ids)})

    def last_sequence(self) -> int:
        """The greatest sequence so far."""
        self._owner.hold()  # servers ask twice a second: so after a restart of PostgreSQL they are soon known to live
        with self._database.connection() as connection:
            [last] = connection.execute("SELECT last FROM order_sequence").fetchone() or (0,)
            return int(last)

    def published(self, now_ms: int, *, after: int, limit: int = 1000) -> list[CommandRecord]:
        """The first published orders with a sequence above ``after``."""
        self._owner.hold()
        return self._records(PUBLISHED, now_ms, [after, limit])

    def close(self) -> None:
        """Let go of all connections, and of what is still under way."""
        self._owner.close()
        self._database.close()

    def _of_key(self, tx: Tx, actor: str, key: str | None, now_ms: int) -> list[CommandRecord]:
        """The orders that an actor's key stands for, none for a new one or without one; it is ours until the end."""
        if key is None:
            return []
        forgotten_ms = now_ms - KEY_LIFE_MS
        tx.execute(FORGET_OLD_KEYS, [forgotten_ms])
        command_ids, used_at_ms = tx.execute(HOLD_KEY, [actor, key, now_ms]).fetchone() or ([], 0)
        if used_at_ms <= forgotten_ms:
            return []
        earlier = _all(tx, command_ids, now_ms)
        if any(it.state == "accepted" and it.command.command_id not in self._under_way for it in earlier):
            self._fail_unsettled(tx, now_ms)  # who gave it may have died; what is failed may be tried again
            earlier = _all(tx, command_ids, now_ms)
        return earlier

    def _fail_unsettled(self, tx: Tx, at_ms: int) -> int:
        tx.execute(TURN)
        ours = {"owner": self._owner.number, "under_way": list(self._under_way)}
        return tx.execute(FAIL_UNSETTLED, {"at_ms": at_ms, **ours}).rowcount

    def _records(self, query: str, now_ms: int, asked: Mapping[str, object] | Sequence[object]) -> list[CommandRecord]:
        with self._database.connection() as connection:
            return [record_of(row, now_ms) for row in connection.execute(query.encode(), asked)]


def _all(tx: Tx, command_ids: Sequence[str], now_ms: int) -> list[CommandRecord]:
    return [record_of(row, now_ms) for row in tx.execute(COMMANDS, [list(command_ids)])]


def _insert(tx: Tx, commands: Sequence[Command], owner: int) -> None:
    columns = [
        [getattr(command, name) for command in commands]
        for name in ("command_id", "device_id", "product_id", "switch", "issued_at_ms", "expires_at_ms")
    ]
    tx.execute(ACCEPT, [owner, *columns])
