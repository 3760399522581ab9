"""The rollup of the SQLite store, step by step; each step may be cut off and repeated.

1. Take accepted readings from the journal, and those whose time has come by now: some at a time, which bounds memory.
2. In one transaction on the main file: number the names, keep the readings as *runs*, then go through the fleet part by
   part, reckon what all new readings of a part change, and write figures, state and marks. The figures count exactly
   what is in place or in a run, no more and no less; so each difference is reckoned against what they count, and runs
   whose turn is yet to come are not looked at. A transaction takes many steps of a backlog: a device is gone on with
   once, and what ends it is as much work after one step as after many: open words, states, distinct devices.
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

from heatfleet.domain.slots import HOUR_MS, SLOT_MS, slot_of
from heatfleet.storage.base import Ages
from heatfleet.storage.block import unpack
from heatfleet.storage.sqlite import journal
from heatfleet.storage.sqlite.carried import Carried, due_ms
from heatfleet.storage.sqlite.columns import Readings
from heatfleet.storage.sqlite.connect import open_database, select, transaction, unavailable_as_error
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.distinct import Counter
from heatfleet.storage.sqlite.figures import add_sums, drop_empty, with_fleet
from heatfleet.storage.sqlite.fleet import NEVER, Fleet
from heatfleet.storage.sqlite.heard import Heard, first_untold, known_devices
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.integrate import Segments, Sums, add, clipped, held_open, pieces, sums
from heatfleet.storage.sqlite.main_file import expect_hold, set_number, setting
from heatfleet.storage.sqlite.names import Names
from heatfleet.storage.sqlite.revise import FOREVER_MS, Reviser
from heatfleet.storage.sqlite.room import make_room
from heatfleet.storage.sqlite.runs import Runs

CLOSE_WAIT_MS = 1_000
READINGS_A_STEP = 1_000_000
STEPS_A_TRANSACTION = 48
"""Two million devices say less than this many million readings in an hour: it is placed in one go, without gaps."""
LATE_AT_ONCE = 200_000
COUNTED_AT_ONCE = 1_000_000
PLACED_AT_ONCE = 1_000_000
CACHE_KIB = 128 * 1024
"""The index of two million names, into which new ones go in any order, is 80 MB."""
OPEN_AT_ONCE = 65_536
SEAL_AFTER_MS = 600_000
"""How long after its end an hour still goes to runs: most stragglers come soon, and are then placed with the rest."""
END_OF_TIME = 1 << 40
STEP_BACK_MS = 600_000
_NONE_KNOWN = (1 << 62, Sums.none())

_log = logging.getLogger(__name__)


class Reckoner:
    """Turns the journal into figures and readings in place. The caller holds the lock that makes it the only one."""

    def __init__(self, path: Path, folder: Path, hold_ms: int) -> None:
        """Load the state of the fleet from the main file."""
        self._path = path
        self._hold_ms = hold_ms
        self._connection = open_database(path, "main", writable=True)
        self._connection.set_busy_timeout(60_000)  # readers do not block us; only a by-hand sqlite3 prompt could
        self._connection.pragma("cache_size", -CACHE_KIB)
        # Statements of many rows note what they change, to take themselves back: gigabytes with a large fleet.
        self._connection.pragma("temp_store", "MEMORY")
        self._journal = journal.JournalReader(folder)
        store = setting(self._connection, "store")
        self._days = DayFiles(folder, store=store, writable=True)
        self._days.check()
        self._runs = Runs(self._connection)
        self._carried = Carried(folder, store=store)
        self._history = History(self._days, self._runs, self._carried)
        self._room: Iterator[None] | None = None  # what is to do to make room, as far as it has come
        self._room_is_void = False
        self._fleet = Fleet(self._connection)
        self._counter = Counter(self._connection)
        self._open_words = _NONE_KNOWN
        self._seen_version = self._connection.pragma("data_version")

    def close(self) -> None:
        """Let go of all files."""
        self._room = None
        self._days.close()
        self._carried.close()
        # Readers may be the last to close, and they cannot: leave a main file that is whole by itself. Where somebody
        # reads for long, such as a backup, or the disk fails, the rest stays in the log, and is as safe there.
        self._connection.set_busy_timeout(CLOSE_WAIT_MS)
        with suppress(apsw.Error):
            self._connection.pragma("wal_checkpoint", "TRUNCATE")
        self._connection.close()

    def refresh(self) -> None:
        """Load the state anew if somebody else has written the main file since."""
        version = self._connection.pragma("data_version")
        if version != self._seen_version:
            self._seen_version = version
            self._fleet = Fleet(self._connection)
            self._counter = Counter(self._connection)
            self._open_words = _NONE_KNOWN
            self._runs.forget_kept()
            self._days.look_again()
            self._carried.look_again()
            self._room_is_void = self._room is not None
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
                taken, late, more = self._take_in(now_ms)
            self._place_before(over)
            self._journal.forget(setting(self._connection, "reckoned_seq"))
            yield taken, late

    def rebuild(self, now_ms: int) -> int:
        """Make all figures again from the readings in place, in one transaction; gives how many there are.

        Figures of days whose readings were removed stay as they are.
        """
        self._place_before(END_OF_TIME)
        total = 0
        first_slot = slot_of(self._carried.from_ms())
        with self._all_or_nothing():
            for table in ("slot_sum", "heard"):
                self._connection.execute(f"DELETE FROM {table} WHERE slot >= ?", (first_slot,))  # noqa: S608 - one of two names
            self._fleet.forget()
            set_number(self._connection, "hold_ms", self._hold_ms)
            heard = Heard(self._connection, first_slot)
            self._counter = Counter(self._connection)
            # As if nobody's word were past yet: at the end, what is then the newest word of each is reckoned.
            reviser = self._reviser(heard, as_of_ms=NEVER, open_ms=NEVER)
            self._open_words = (NEVER, Sums.none())
            for readings in chain(self._carried.everything(), self._days.everything()):
                change = reviser.revise(readings.as_set(self._fleet.product_rank)).change
                add_sums(self._connection, with_fleet(change.take(change.slot >= first_slot)))
                total += len(readings)
            heard.recount_after_first()
            self._go_on_to(now_ms, heard, as_of_ms=NEVER, open_ms=NEVER, since_ms=first_slot * SLOT_MS)
            self._fleet.save()
        return total

    def make_room(self) -> bool:
        """Do a small piece of what makes room; whether there may be more to do.

        What was begun is left to another process if that has rolled up meanwhile: it would never come to an end.
        """
        if self._room_is_void:
            self._room_is_void = False
            return False
        if self._room is None:
            self._room = make_room(self._days, self._carried, self._fleet, self._ages(), self._announce_room)
        try:
            next(self._room)
        except StopIteration:
            self._room = None
        return self._room is not None

    def _announce_room(self) -> None:
        """Let others look again at what files there are, before some of these change."""
        with self._all_or_nothing():
            set_number(self._connection, "room_changes", setting(self._connection, "room_changes") + 1)

    def _ages(self) -> Ages:
        return Ages(**{name: setting(self._connection, name) for name in Ages._fields})

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """One transaction on the main file. If it fails, the state in memory is void: open a new reckoner."""
        with unavailable_as_error(self._path), transaction(self._connection):
            yield

    def _take_in(self, now_ms: int) -> tuple[int, int, bool]:
        """Count some millions of readings: how many there were, how many of them late, and whether there are more."""
        as_of_ms = setting(self._connection, "as_of_ms")
        open_ms = min(as_of_ms, now_ms)  # had the clock been ahead, words that were past then are open again
        if self._open_words[0] != open_ms:
            self._open_words = (open_ms, self._open_sums(as_of_ms, open_ms))
        more, behind = True, 0
        for _ in range(STEPS_A_TRANSACTION):
            seq, bodies, more = self._journal.after(setting(self._connection, "reckoned_seq"), READINGS_A_STEP)
            readings = self._due(bodies, now_ms)
            self._runs.add_uncounted(readings)
            set_number(self._connection, "reckoned_seq", seq)
            # Late ones, of which these are a part, take long, and what is cut off is to be done again.
            behind += int((readings.time_ms <= self._fleet.last_ms[readings.device]).sum())
            if not more or behind > LATE_AT_ONCE:
                break
        heard = Heard(self._connection)
        reviser = self._reviser(heard, as_of_ms=as_of_ms, open_ms=open_ms)
        taken = late = 0
        for readings in self._runs.uncounted(COUNTED_AT_ONCE):
            new = readings.as_set(self._fleet.product_rank)
            self._keep_longer(new)
            revision = reviser.revise(new)
            add_sums(self._connection, with_fleet(revision.change))
            self._runs.add(revision.outdone)
            taken, late = taken + len(new), late + revision.late
        self._go_on_to(now_ms, heard, as_of_ms=as_of_ms, open_ms=open_ms)
        self._fleet.save()
        return taken, late, more

    def _keep_longer(self, new: Readings) -> None:
        """If they are of days about to be removed: what was found out for these is void."""
        days = self._ages().retention_days
        if days and (new.time_ms < due_ms(int(self._fleet.last_ms.max()), days)).any():
            self._room = None

    def _reviser(self, heard: Heard, *, as_of_ms: int, open_ms: int) -> Reviser:
        return Reviser(self._fleet, self._history, heard, hold_ms=self._hold_ms, as_of_ms=as_of_ms, open_ms=open_ms)

    def _due(self, bodies: list[bytes], now_ms: int) -> Readings:
        """The journal's readings and those set aside, as far as their time has come."""
        early = Readings.of_rows(select(self._connection, "SELECT * FROM early"))
        found = [early]
        if bodies:
            packed = unpack(*bodies)
            bodies.clear()
            found.append(
                Readings(
                    self._fleet.device_numbers(Names.of_text(packed.device_names)),
                    packed.time_ms,
                    packed.code.astype(np.int64),
                    packed.value,
                    self._fleet.product_numbers(Names.of_text(packed.product_names)),
                ),
            )
        readings = self._kept(Readings.join(found))
        come = readings.time_ms < now_ms
        if len(early) or not come.all():
            self._connection.execute("DELETE FROM early")
            later = readings.take(~come).as_set(self._fleet.product_rank)
            self._connection.executemany("INSERT INTO early VALUES (?, ?, ?, ?, ?)", later.rows())
        return readings.take(come)

    def _kept(self, readings: Readings) -> Readings:
        """Readings without those of removed days: the server refuses them, unless its clock was set back."""
        gone = readings.time_ms < self._carried.from_ms()
        if gone.any():
            _log.warning("%d readings of days that were removed are not counted: is the clock right?", gone.sum())
            return readings.take(~gone)
        return readings

    def _go_on_to(self, now_ms: int, heard: Heard, *, as_of_ms: int, open_ms: int, since_ms: int = NEVER) -> None:
        """Let open words count until now instead of ``as_of_ms``, and count the devices that are known."""
        changes = [self._open_words[1].negated()]
        past = [Sums.none()]
        for words in self._words_open_at(open_ms):
            later = words if since_ms == NEVER else clipped(words, since_ms, FOREVER_MS)
            parts = pieces(clipped(later, since_ms, now_ms))
            heard.put(known_devices(parts.take(parts.slot >= first_untold(as_of_ms))))
            changes.append(sums(parts))
            past.append(sums(pieces(later.take(later.end_ms <= now_ms))))
        add_sums(self._connection, with_fleet(add(changes)))
        self._open_words = (now_ms, add([*changes[1:], *(part.negated() for part in past)]))
        heard.write()
        self._counter.count(heard.changed, slot_of(as_of_ms), slot_of(now_ms))
        drop_empty(self._connection, slot_of(now_ms))
        set_number(self._connection, "as_of_ms", now_ms)

    def _open_sums(self, as_of_ms: int, open_ms: int) -> Sums:
        """What the open words of the state in memory add to the figures until ``as_of_ms``."""
        words = self._words_open_at(open_ms)
        return add([Sums.none(), *(sums(pieces(clipped(some, NEVER, as_of_ms))) for some in words)])

    def _words_open_at(self, open_ms: int) -> Iterator[Segments]:
        """The newest words of all devices that hold beyond this instant, some at a time."""
        devices = self._fleet.believed(open_ms, self._hold_ms)
        for first in range(0, len(devices), OPEN_AT_ONCE):
            yield held_open(self._fleet.newest(devices[first : first + OPEN_AT_ONCE]), self._hold_ms)

    def _place_before(self, hour: int) -> None:
        """Put the runs of earlier hours in the day files; what is cut off is done again, to the same end."""
        for readings, ids in self._runs.before(hour, PLACED_AT_ONCE):
            self._days.place(readings.as_set(self._fleet.product_rank))
            with unavailable_as_error(self._path), transaction(self._connection):
                self._runs.drop(ids)
