"""The audit trail, in the ledger's file: who did what. Lines are only ever added; the file itself refuses the rest."""

from collections.abc import Iterable

import apsw

from heatfleet.domain.access import AuditEntry
from heatfleet.storage.base.as_kept import audit_columns, audit_line

NOTE = """INSERT INTO audit (at_ms, actor, address, action, subject, detail, result, command_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

# An order that was accepted is told as it stands; one that was refused or repeated, and anything else, as it was noted.
LINES = """SELECT entry, at_ms, actor, address, action, subject, detail,
    CASE WHEN result <> 'accepted' OR state IS NULL THEN result
         WHEN superseded THEN 'superseded'
         WHEN state = 'published' AND expires_at_ms <= :now_ms THEN 'expired'
         ELSE state END,
    audit.command_id
FROM audit LEFT JOIN command_record ON command_record.command_id = audit.command_id
WHERE entry > :after AND at_ms >= :since_ms AND (:until_ms IS NULL OR at_ms < :until_ms)"""

# Times and numbers grow together, unless a clock goes back, so most of a trail need not be looked at. The plus sign
# keeps SQLite from walking along the numbers until a time fits.
FIRST_SINCE = " AND entry >= (SELECT min(+entry) FROM audit WHERE at_ms >= :since_ms)"

OF_SUBJECT, OF_ACTOR = " AND subject = :subject", " AND actor = :actor"

FIRST, NEWEST = " ORDER BY entry LIMIT :limit", " ORDER BY entry DESC LIMIT :limit"

Named = dict[str, str | int | None]


def note(connection: apsw.Connection, entries: Iterable[AuditEntry]) -> None:
    """Add lines, in the transaction of what they tell of."""
    connection.executemany(NOTE, map(audit_columns, entries))


def lines(connection: apsw.Connection, asked: Named, *, limit: int, newest: bool) -> list[tuple[int, AuditEntry]]:
    """What ``Ledger.audit`` promises; ``asked`` are its other parameters by name."""
    query = LINES + (FIRST_SINCE if asked["since_ms"] and not asked["after"] else "")
    parts = [part for part, name in ((OF_SUBJECT, "subject"), (OF_ACTOR, "actor")) if asked[name] is not None]
    found: dict[int, AuditEntry] = {}
    for part in parts or [""]:
        # One by one: each has its index, and with an OR between them all lines would have to be sorted.
        rows = connection.execute(query + part + (NEWEST if newest else FIRST), {**asked, "limit": limit})
        found |= dict(map(audit_line, rows))
    ordered = sorted(found.items())
    return ordered[-limit:] if newest else ordered[:limit]
