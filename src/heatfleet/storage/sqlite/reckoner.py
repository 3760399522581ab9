"""The rollup of the SQLite store, step by step; each step may be cut off and repeated.

1. Take accepted readings from the journal, and those whose time has come by now.
2. In one transaction on the main file: number the names, reckon what changes, write figures, state and marks, and keep
   the readings as *runs*. The figures count exactly what is in place or in a run, no more and no less; so each
   difference is reckoned against what they count.
3. Put the runs whose hour is over in the day files, then drop them. Placing twice changes nothing.
4. Delete the journal files that are done with.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import apsw
import numpy as np

from heatfleet.domain.slots import HOUR_MS, SLOTS_PER_DAY, slot_of
from heatfleet.errors import SetupError
from heatfleet.storage.base import Ages
from heatfleet.storage.block import unpack
from heatfleet.storage.sqlite import journal
from heatfleet.storage.sqlite.carried import Carried, due_ms
from heatfleet.storage.sqlite.columns import Readings
from heatfleet.storage.sqlite.connect import open_database, select, transaction, unavailable_as_error
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.figures import add_sums, count_devices, drop_empty, mark_heard, swap_ahead, with_fleet
from heatfleet.storage.sqlite.fleet import Fleet
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.integrate import Sums, add, first_rows, to_come
from heatfleet.storage.sqlite.names import Names
from heatfleet.storage.sqlite.revise import Reviser
from heatfleet.storage.sqlite.room import make_room
from heatfleet.storage.sqlite.runs import Runs

READINGS_A_STEP = 1_000_000
PLACED_AT_ONCE = 1_000_000
HELD_AT_ONCE = 200_000
SEAL_AFTER_MS = 600_000
"""How long after its end an hour still goes to runs: most stragglers come soon, and are then placed with the rest."""
END_OF_TIME = 1 << 40
STEP_BACK_MS = 600_000

_log = logging.getLogger(__name__)


class Reckoner:
    """Turns the journal into figures and readings in place. The caller holds the lock that makes it the only one."""

    def __init__(self, path: Path, folder: Path, hold_ms: int) -> None:
        """Load the state of the fleet from the main file."""
        self._path = path
        self._hold_ms = hold_ms
        self._connection = open_database(path, "main", writable=True)
        self._connection.set_busy_timeout(60_000)  # readers do not block us; only a by-hand sqlite3 prompt could
        self._journal = journal.JournalReader(folder)
        store = setting(self._connection, "store")
        self._days = DayFiles(folder, store=store, writable=True)
        self._days.check()
        self._runs = Runs(self._connection)
        self._carried = Carried(folder, store=store)
        self._history = History(self._days, self._runs, self._carried)
        self._room: Iterator[None] | None = None  # what is to do to make room, as far as it has come
        self._fleet = Fleet(self._connection)
        self._seen_version = self._connection.pragma("data_version")

    def close(self) -> None:
        """Let go of all files."""
        self._room = None
        self._days.close()
        self._carried.close()
        # Readers may be the last to close, and they cannot: leave a main file that is whole by itself.
        with suppress(apsw.BusyError):
            self._connection.pragma("wal_checkpoint", "TRUNCATE")
        self._connection.close()

    def refresh(self) -> None:
        """Load the state anew if somebody else has written the main file since."""
        version = self._connection.pragma("data_version")
        if version != self._seen_version:
            self._seen_version = version
            self._fleet = Fleet(self._connection)
            self._runs.forget_kept()
            self._days.look_again()
            self._carried.look_again()
            self._room = None

    def rollup(self, now_ms: int) -> Iterator[tuple[int, int]]:
        """Bring everything up to ``now_ms``; yields the readings taken and those of them late, after each step."""
        expect_hold(self._connection, self._hold_ms)
        as_of_ms = setting(self._connection, "as_of_ms")
        if now_ms < as_of_ms <= now_ms + STEP_BACK_MS:
            now_ms = as_of_ms  # another rollup was a little ahead: figures do not go back
        over = (now_ms - SEAL_AFTER_MS) // HOUR_MS
        more = True
        while more:
            with self._all_or_nothing():
                seq, bodies, more = self._journal.after(setting(self._connection, "reckoned_seq"), READINGS_A_STEP)
                new = self._due(bodies, now_ms)
                late = self._absorb(new, now_ms)
                set_number(self._connection, "reckoned_seq", seq)
            self._place_before(over)
            self._journal.forget(seq)
            yield len(new), late

    def rebuild(self, now_ms: int) -> int:
        """Make all figures again from the readings in place, in one transaction; gives how many there are.

        Figures of days whose readings were removed stay as they are.
        """
        self._place_before(END_OF_TIME)
        total = 0
        first_slot = slot_of(self._carried.from_ms())
        with self._all_or_nothing():
            for table in ("slot_sum", "ahead", "heard"):
                self._connection.execute(f"DELETE FROM {table} WHERE slot >= ?", (first_slot,))  # noqa: S608 - one of three names
            self._fleet.forget()
            set_number(self._connection, "hold_ms", self._hold_ms)
            reviser = Reviser(self._fleet, self._history, self._hold_ms)
            # Who was known in the last day before still counts in the first one after.
            changed = set(range(first_slot - SLOTS_PER_DAY + 1, first_slot)) if first_slot else set()
            for readings in chain(self._carried.everything(), self._days.everything()):
                revision, _ = reviser.revise(readings.as_set(self._fleet.product_rank))
                revision = revision.since(first_slot)
                add_sums(self._connection, with_fleet(revision.change))
                changed |= mark_heard(self._connection, revision.gone, revision.come)
                total += len(readings)
            self._fleet.save(self._fleet.everyone())
            self._count_up_to(now_ms, changed)
        return total

    def make_room(self) -> bool:
        """Do a small piece of what makes room; whether there may be more to do."""
        if self._room is None:
            self._room = make_room(self._days, self._carried, self._fleet, self._ages())
        try:
            next(self._room)
        except StopIteration:
            self._room = None
        return self._room is not None

    def _ages(self) -> Ages:
        return Ages(**{name: setting(self._connection, name) for name in Ages._fields})

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """One transaction on the main file. If it fails, the state in memory is void: open a new reckoner."""
        with unavailable_as_error(self._path), transaction(self._connection):
            yield

    def _due(self, bodies: list[bytes], now_ms: int) -> Readings:
        """The journal's readings and those set aside, as a set, as far as their time has come."""
        packed = [unpack(body) for body in bodies]
        early = Readings.of_rows(select(self._connection, "SELECT * FROM early"))
        found = [early]
        if packed:
            found.append(
                Readings(
                    self._fleet.device_numbers(Names.of_text(b"\n".join(part.device_names for part in packed))),
                    np.concatenate([part.time_ms for part in packed]),
                    np.concatenate([part.code for part in packed]).astype(np.int64),
                    np.concatenate([part.value for part in packed]),
                    self._fleet.product_numbers(Names.of_text(b"\n".join(part.product_names for part in packed))),
                ),
            )
        readings = Readings.join(found).as_set(self._fleet.product_rank)
        readings = self._kept(readings)
        come = readings.time_ms < now_ms
        if len(early) or not come.all():
            self._connection.execute("DELETE FROM early")
            self._connection.executemany("INSERT INTO early VALUES (?, ?, ?, ?, ?)", readings.take(~come).rows())
        return readings.take(come)

    def _kept(self, readings: Readings) -> Readings:
        """Readings without those of removed days: the server refuses them, unless its clock was set back."""
        gone = readings.time_ms < self._carried.from_ms()
        if gone.any():
            _log.warning("%d readings of days that were removed are not counted: is the clock right?", gone.sum())
        return readings.take(~gone)

    def _absorb(self, new: Readings, now_ms: int) -> int:
        """Count new readings and move the figures on to ``now_ms``; gives how many of the readings were late."""
        late = 0
        changed: set[int] = set()
        if len(new):
            revision, kept = Reviser(self._fleet, self._history, self._hold_ms).revise(new)
            add_sums(self._connection, with_fleet(revision.change))
            changed = mark_heard(self._connection, revision.gone, revision.come)
            self._fleet.save(new.device[first_rows(new.device)])
            self._runs.add(kept)
            late = revision.late
            days = self._ages().retention_days
            if late and days and new.time_ms.min() < due_ms(int(self._fleet.last_ms.max()), days):
                self._room = None  # somebody kept more for a while: what was found out for these days is void
        self._count_up_to(now_ms, changed)
        return late

    def _count_up_to(self, now_ms: int, changed: set[int]) -> None:
        """Take what lies beyond now out of the figures, and count the devices of changed and newly begun slots."""
        add_sums(self._connection, swap_ahead(self._connection, with_fleet(self._ahead(now_ms))))
        counted_until = slot_of(setting(self._connection, "as_of_ms"))
        count_devices(self._connection, changed, counted_until, slot_of(now_ms))
        drop_empty(self._connection, slot_of(now_ms))
        set_number(self._connection, "as_of_ms", now_ms)

    def _ahead(self, now_ms: int) -> Sums:
        """What the newest values will add after ``now_ms`` if no device speaks again."""
        believed = self._fleet.believed(now_ms, self._hold_ms)
        parts = [
            to_come(self._fleet.newest(believed[first : first + HELD_AT_ONCE]), self._hold_ms, now_ms)
            for first in range(0, len(believed), HELD_AT_ONCE)
        ]
        return add([Sums.none(), *parts])

    def _place_before(self, hour: int) -> None:
        """Put the runs of earlier hours in the day files; what is cut off is done again, to the same end."""
        for readings, ids in self._runs.before(hour, PLACED_AT_ONCE):
            self._days.place(readings.as_set(self._fleet.product_rank))
            with unavailable_as_error(self._path), transaction(self._connection):
                self._runs.drop(ids)


def setting(connection: apsw.Connection, name: str) -> int:
    """One of the numbers the main file remembers, 0 before it was set."""
    value = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).get
    return int(value or 0)


def set_number(connection: apsw.Connection, name: str, value: int) -> None:
    """Remember a number in the main file."""
    connection.execute("INSERT INTO setting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", (name, value))


def expect_hold(connection: apsw.Connection, hold_ms: int) -> None:
    """Raise ``SetupError`` if the figures of this main file were reckoned with another hold."""
    reckoned_with_ms = setting(connection, "hold_ms")
    if reckoned_with_ms != hold_ms:
        msg = (
            f"HEATFLEET_MAX_HOLD_S is {hold_ms / 1000:g}, but the figures here stand for {reckoned_with_ms / 1000:g};"
            " set it back, or run `heatfleet rollup --rebuild` to reckon them all anew"
        )
        raise SetupError(msg)
