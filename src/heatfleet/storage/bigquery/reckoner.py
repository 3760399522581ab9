"""The rollup: a short sequence of queries, in each of which BigQuery reckons; no reading passes through here.

What was appended since the last rollup is put into a work table as a set. What it changes is reckoned, most often
from the last word of each device, and for late words from the readings of the time around them; and written in one
transaction with the readings. Any step may be cut off and repeated: a reading that is taken twice changes nothing.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Self

from heatfleet.domain.slots import DAY_MS, SLOT_MS, SLOTS_PER_DAY
from heatfleet.errors import AnotherRollup, StoreUnavailable
from heatfleet.storage.base import Rollup
from heatfleet.storage.bigquery.head import Head, expect_hold, instant
from heatfleet.storage.bigquery.queries import REBUILD, ROLLUP, Queries, Row, Value
from heatfleet.storage.bigquery.statements import made, script, statement, together, transaction

LATEST = timedelta(hours=1)
"""A row is to be seen this long after it was sent, at the latest; see ``append.py``."""
SWEEP_AFTER = timedelta(days=3)
SWEEP_KEEPS = timedelta(days=2)
"""Appends that were taken go day by day, after a look at all that are there: a server's clock may have been wrong."""
LEASE_S = 900
"""As long as the queries of a pass may take together; each pass renews it."""
LEASE_REBUILD_S = 2 * 3600
BACK_MS = (0, 30 * DAY_MS)
"""How long before the day before late words is looked for values that held then; beyond, in all that is kept."""
AHEAD_MS = (3 * DAY_MS, 33 * DAY_MS)
"""How long after late words is looked for where nothing differs any more; beyond, up to the last word."""
DAYS_APART = 4
PASSES_MAX = 8
DAYS_MAX = 2000
"""Days that a pass takes in: BigQuery lets a statement change 4,000 partitions."""

_WORK = ("batch", "news", "touched", "old", "reach", "piece", "change", "state")
_TAIL = {"point": "tail_point", "bound": "tail_bound", "piece": "piece", "change": "change"}
_log = logging.getLogger(__name__)


class Reckoner:
    """One rollup or rebuild, by one holder of the lease. Use it in a ``with`` block."""

    def __init__(self, queries: Queries, hold_ms: int, *, rebuilding: bool = False) -> None:
        self._queries = queries
        self._hold_ms = hold_ms
        self.me = secrets.token_hex(8)
        self._kind = REBUILD if rebuilding else ROLLUP
        self._lease_s = LEASE_REBUILD_S if rebuilding else LEASE_S

    def __enter__(self) -> Self:
        """Take the lease; ``AnotherRollup`` if somebody else has it."""
        [row] = self.run(script(statement("lease_take"), statement("head")), me=self.me, lease_s=self._lease_s)
        self.head = Head(*row)
        if self.head.lease_holder != self.me:
            raise AnotherRollup("another rollup is at work; try again when it is done", retry_after_s=30)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of the lease; should that fail, it ends by itself, and so do the work tables."""
        drop = [f"DROP TABLE IF EXISTS work_{name}" for name in _WORK]
        with suppress(StoreUnavailable):
            self.run(script(*drop, statement("lease_give")), me=self.me)

    def rollup(self, now_ms: int) -> Rollup:
        """Take in what was appended; see ``Store.rollup``. Figures do not go back with a clock."""
        started_s = time.monotonic()
        head = self.head
        expect_hold(head, self._hold_ms)
        as_of_ms = max(now_ms, head.as_of_ms)
        is_sweep = head.taken_until - head.swept_until > SWEEP_AFTER
        newest = self._stage(head.swept_until if is_sweep else untaken_after(head))
        days = self.run(statement("days"), as_of_ms=as_of_ms)
        gone = sum(readings for day, readings, *_ in days if day < head.kept_from_ms // DAY_MS)
        if gone:
            _log.warning("%d readings of days that were removed are not counted: is the clock right?", gone)
        taken_until = max(head.taken_until, min(newest or head.taken_until, instant(now_ms)))
        passes = list(parts(head.kept_from_ms, days, as_of_ms))
        for number, span in enumerate(passes, 1):
            self._pass(span, as_of_ms, taken_until if number == len(passes) else None)
        if is_sweep:
            self._sweep(taken_until)
        readings, late = (sum(day[column] for day in days) for column in (1, 2))
        return Rollup(as_of_ms, readings - gone, late, time.monotonic() - started_s)

    def rebuild(self, now_ms: int) -> int:
        """Make all figures anew from the readings that are kept; see ``Store.rebuild``. Gives how many these are."""
        as_of_ms = max(now_ms, self.head.as_of_ms)
        kept_from_ms = self.head.kept_from_ms
        self.run(script(made("news", statement("all_news"))), kept_from_ms=kept_from_ms)
        tables = script(made("touched"), made("old"), made("reach"))
        self._reckon((kept_from_ms, as_of_ms), tables, (kept_from_ms, kept_from_ms, True))
        first_slot = kept_from_ms // SLOT_MS + SLOTS_PER_DAY if kept_from_ms else 0
        write = ("lease_check", "figure_delete", "figure_insert", "device_merge", "tail_delete", "tail_insert")
        self._write((*write, "head_figures"), as_of_ms, first_slot=first_slot)
        self.head = self.head._replace(as_of_ms=as_of_ms, hold_ms=self._hold_ms)
        return sum(readings for _, readings, *_ in self.run(statement("days"), as_of_ms=as_of_ms))

    def _stage(self, after: datetime) -> datetime | None:
        """Put into work tables what is new; gives when the newest append was sent, ``None`` if there was none."""
        batches = self.run(script(made("batch"), statement("batches")), after=after)
        _, first, last = batches[0]
        never = instant(1 << 42)
        self.run(script(made("news")), since=first or never)
        return last  # type: ignore[no-any-return]

    def _sweep(self, taken_until: datetime) -> None:
        """Remove appends that were taken, hour by hour: BigQuery drops whole partitions for nothing."""
        until = (taken_until - SWEEP_KEEPS).replace(minute=0, second=0, microsecond=0)
        sweep = ("arrival_sweep", "taken_sweep", "head_swept")
        self.run(script(*map(statement, sweep)), me=self.me, until=until)

    def _pass(self, span: tuple[int, int], as_of_ms: int, taken_until: datetime | None) -> None:
        """Take in what is new of one stretch of time; with ``taken_until`` it is the last one, and all was taken."""
        from_ms, to_ms = span
        touched = script(made("touched"), statement("late"))
        [(late, first_ms, last_ms, new_first_ms, new_last_ms)] = self.run(touched, from_ms=from_ms, to_ms=to_ms)
        edges_ms = (first_ms, new_first_ms, new_last_ms, last_ms)
        window = self._window(edges_ms) if late else None
        [(first_slot, last_slot)] = self._reckon(span, "", window)
        write = ["lease_check", "figure_merge", "device_merge", "reading_insert", "tail_delete", "tail_insert"]
        values: dict[str, Value] = {"from_ms": from_ms, "to_ms": to_ms}
        if taken_until is not None:
            write += ["waiting_delete", "waiting_insert", "taken_insert", "head_taken"]
            values["taken_until"] = taken_until
        self._write((*write, "head_figures"), as_of_ms, first_slot=first_slot or 0, last_slot=last_slot or 0, **values)

    def _window(self, edges_ms: tuple[int, int, int, int]) -> tuple[int, int, bool]:
        """From when to when the readings of late devices are needed, and whether that is all that is kept."""
        first_ms, new_first_ms, new_last_ms, last_ms = edges_ms
        kept_from_ms = self.head.kept_from_ms
        matters_ms = (new_first_ms // SLOT_MS - SLOTS_PER_DAY) * SLOT_MS - self._hold_ms
        backs = iter([*(matters_ms - back_ms for back_ms in BACK_MS), min(matters_ms, first_ms)])
        aheads = iter([*(new_last_ms + ahead_ms for ahead_ms in AHEAD_MS), last_ms + 1])
        since_ms, until_ms = next(backs), next(aheads)
        while True:
            since_ms, until_ms = max(since_ms, kept_from_ms), min(until_ms, last_ms + 1)
            window = since_ms, until_ms, 0 < since_ms <= kept_from_ms
            looked = script(made("old"), made("reach"), statement("shortfall"))
            [(back, ahead)] = self.run(looked, **self._bounds(window))
            if not back and not ahead:
                return window
            since_ms = next(backs) if back else since_ms
            until_ms = next(aheads) if ahead else until_ms

    def _reckon(self, span: tuple[int, int], first: str, window: tuple[int, int, bool] | None) -> Sequence[Row]:
        """Work tables with all that changes; gives the first and the last slot of it."""
        reach = {} if window else {"reach": "no_reach"}
        old = {} if window else {"old": "no_old"}
        steps = (
            made("piece", together("piece", **old, **reach, point="point")),
            made("change", together("change", **reach, bound="bound")),
            made("state", together("state", **reach) if reach else None),
            statement("slots"),
        )
        return self.run(
            first + script(*steps),
            from_ms=span[0],
            to_ms=span[1],
            kept_slot=self.head.kept_from_ms // SLOT_MS,
            **self._bounds(window or (0, 0, False)),
        )

    def _bounds(self, window: tuple[int, int, bool]) -> dict[str, Value]:
        since_ms, until_ms, all_kept = window
        return {"since_ms": since_ms, "until_ms": until_ms, "all_kept": all_kept, "hold_ms": self._hold_ms}

    def _write(self, names: Sequence[str], as_of_ms: int, **values: Value) -> None:
        """All of these statements or none, if the lease is still ours."""
        self.run(
            transaction(*(together(name, **_TAIL) if name == "tail_insert" else statement(name) for name in names)),
            me=self.me,
            lease_s=self._lease_s,
            as_of_ms=as_of_ms,
            hold_ms=self._hold_ms,
            **values,
        )

    def run(self, text: str, **values: Value) -> Sequence[Row]:
        """The rows of a script, whose work tables are those of this holder of the lease."""
        return self._queries.run(text.replace("work_", f"work_{self.me}_"), self._kind, **values)


def parts(kept_from_ms: int, days: Sequence[Row], as_of_ms: int) -> Iterator[tuple[int, int]]:
    """The time to take in as stretches, so that late words of times far apart do not have all between them read.

    Nor does one stretch take in more days than BigQuery changes at a time.
    """
    kept = [(day, changed) for day, _, _, changed in days if day >= kept_from_ms // DAY_MS]
    changing = [day for day, changed in kept if changed]
    gaps = [(later - day, day) for day, later in pairwise(changing)]
    widest = sorted(gaps, reverse=True)[: PASSES_MAX - 1]
    from_ms = kept_from_ms
    apart = {day for gap, day in widest if gap >= DAYS_APART}
    full = {day for day, _ in kept[DAYS_MAX - 1 :: DAYS_MAX]}
    for day in sorted(apart | full):
        yield from_ms, (day + 1) * DAY_MS
        from_ms = (day + 1) * DAY_MS
    yield from_ms, as_of_ms


def untaken_after(head: Head) -> datetime:
    """Appends that no rollup has taken were sent after this."""
    return head.taken_until - LATEST
