"""The audit trail, in the ledger's database: who did what. Lines are only ever added; the table refuses the rest."""

from collections.abc import Iterable

from heatfleet.domain.access import AuditEntry
from heatfleet.storage.base.as_kept import audit_columns, audit_line
from heatfleet.storage.postgresql.connect import Tx

# Held until the lines are visible: they become so in the order of their numbers, and who reads on misses none.
TURN = "SELECT pg_advisory_xact_lock('audit'::regclass::oid::bigint << 32)"

NOTE = """INSERT INTO audit (at_ms, actor, address, action, subject, detail, result, command_id)
SELECT at_ms, actor, address, action, subject, detail, result, command_id
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
    WITH ORDINALITY AS told (at_ms, actor, address, action, subject, detail, result, command_id, place)
ORDER BY place"""

# An order that was accepted is told as it stands; one that was refused or repeated, and anything else, as it was noted.
LINES = """SELECT entry, at_ms, actor, address, action, subject, detail,
    CASE WHEN result <> 'accepted' OR state IS NULL THEN result
         WHEN superseded THEN 'superseded'
         WHEN state = 'published' AND expires_at_ms <= %(now_ms)s THEN 'expired'
         ELSE state END,
    audit.command_id
FROM audit LEFT JOIN command_record ON command_record.command_id = audit.command_id
WHERE entry > %(after)s AND at_ms >= %(since_ms)s AND at_ms < %(until_ms)s"""

# Times and numbers grow together, unless a clock goes back, so most of a trail need not be looked at. The sum keeps
# PostgreSQL from walking along the numbers until a time fits.
FIRST_SINCE = " AND entry >= (SELECT min(entry + 0) FROM audit WHERE at_ms >= %(since_ms)s)"

OF_SUBJECT, OF_ACTOR = " AND subject = %(subject)s", " AND actor = %(actor)s"

FIRST, NEWEST = " ORDER BY entry LIMIT %(limit)s", " ORDER BY entry DESC LIMIT %(limit)s"

Named = dict[str, str | int | None]


def note(connection: Tx, entries: Iterable[AuditEntry]) -> None:
    """Add lines, in the transaction of what they tell of, of which they must be the last statement."""
    if rows := [audit_columns(entry) for entry in entries]:
        connection.execute(TURN)
        connection.execute(NOTE, [list(column) for column in zip(*rows, strict=True)])


def lines(connection: Tx, asked: Named, *, limit: int, newest: bool) -> list[tuple[int, AuditEntry]]:
    """What ``Ledger.audit`` promises; ``asked`` are its other parameters by name."""
    query = LINES + (FIRST_SINCE if asked["since_ms"] and not asked["after"] else "")
    parts = [part for part, name in ((OF_SUBJECT, "subject"), (OF_ACTOR, "actor")) if asked[name] is not None]
    found: dict[int, AuditEntry] = {}
    for part in parts or [""]:
        # One by one: each has its index, and with an OR between them all lines would have to be sorted.
        statement = query + part + (NEWEST if newest else FIRST)
        found |= dict(map(audit_line, connection.execute(statement.encode(), {**asked, "limit": limit})))
    ordered = sorted(found.items())
    return ordered[-limit:] if newest else ordered[:limit]
