"""Making room: whole days of readings go once what later figures need of them is carried over. No figure changes."""

from heatfleet.domain.slots import DAY_MS
from heatfleet.storage.bigquery.reckoner import Reckoner
from heatfleet.storage.bigquery.statements import script, statement, transaction

DAYS_AT_ONCE = 30
"""Of all that is removed the newest values are looked for first: what one query reads has a bound."""


def make_room(reckoner: Reckoner) -> bool:
    """Remove what is old enough; see ``Store.make_room``. Counted from the newest reading, as a clock may be wrong."""
    head = reckoner.head
    if not head.retention_days:
        return False
    [(first_ms, last_ms)] = reckoner.run(statement("newest"))
    # The day before the oldest reading that is taken stays too: figures tell who was known in the day before them.
    before_ms = 0 if last_ms is None else (last_ms // DAY_MS - head.retention_days - 1) * DAY_MS
    from_ms = max(head.kept_from_ms, first_ms or 0)
    if before_ms <= from_ms:
        return False
    step_ms = min(before_ms, (from_ms // DAY_MS + DAYS_AT_ONCE) * DAY_MS)
    carry = transaction(*map(statement, ("lease_check", "carried_merge", "head_kept")))
    reckoner.run(
        carry + script(statement("reading_sweep")),
        me=reckoner.me,
        kept_from_ms=head.kept_from_ms,
        before_ms=step_ms,
    )
    return step_ms < before_ms
