"""The readings in their place: one file a UTC day, one table an hour, clustered by device and time.

Old days go by deleting their file. ``schema/day_001.sql`` describes the columns. A day that is archived is a Parquet
file (``archive.py``); what comes late for it, or while it is being archived, is in a second day file beside it, so that
nobody writes to what is read and then deleted. A reading may be in two of a day's files; ``Readings.as_set`` makes such
ones one.
"""

import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import apsw

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import SetupError
from heatfleet.storage.sqlite.archive import Archive
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.connect import open_database, open_if_there, sync, transaction, unavailable_as_error
from heatfleet.storage.sqlite.keys import DEVICE_SHIFT, Rows, rows_of, spans
from heatfleet.storage.sqlite.removal import put_away, replace
from heatfleet.storage.sqlite.sheet import FIRST_ROW, SHEET_ROWS, Sheets

_OPEN_MAX = 64
_ARCHIVES_OPEN_MAX = 8
"""Fewer, since each may keep some 10 MB unpacked."""
READ_AT_ONCE = 500_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_is_day_file = re.compile(
    r"(readings|late)-(\d{4}-\d{2}-\d{2})((?<=readings-..........)\.parquet(?:\.part)?|\.db)"
).fullmatch

PLAIN, LATE, ARCHIVE, PART = "readings-{}.db", "late-{}.db", "readings-{}.parquet", "readings-{}.parquet.part"
"""The kinds of files that a day may have, by the form of their names; the last is an archive that is being made."""


class DayFiles:
    """The day files of one store. Not for use by two threads at a time."""

    def __init__(self, folder: Path, *, store: int, writable: bool) -> None:
        """Open files as they are needed, and keep the last few open."""
        self.folder = folder
        self.store = store
        self._writable = writable
        self._open: dict[tuple[int, str], apsw.Connection] = {}
        self._archives: dict[int, Archive] = {}
        self._absent: set[tuple[int, str]] = set()
        self._files: dict[int, set[str]] | None = None
        self._sheets = Sheets()

    def files(self) -> dict[int, set[str]]:
        """The days that have files, as days since 1970, ascending, and which kinds each has; see ``look_again``."""
        if self._files is None:
            found: dict[int, set[str]] = {}
            for name in os.listdir(self.folder):  # noqa: PTH208 - there are thousands, and a path for each takes time
                if match := _is_day_file(name):
                    day = date.fromisoformat(match[2]).toordinal() - _EPOCH_ORDINAL
                    found.setdefault(day, set()).add(f"{match[1]}-{{}}{match[3]}")
            self._files = dict(sorted(found.items()))
        return self._files

    def days(self) -> list[int]:
        """The days that have readings, ascending."""
        return [day for day, forms in self.files().items() if forms != {PART}]

    def path(self, day: int, form: str) -> Path:
        """Where a file of this kind is or would be."""
        return self.folder / form.format(date.fromordinal(_EPOCH_ORDINAL + day))

    def made(self, day: int, form: str) -> None:
        """Remember a file that somebody else made or changed."""
        self._let_go(day, form)
        if self._files is not None and form not in self._files.get(day, set()):
            self._files = dict(sorted({**self._files, day: self._files.get(day, set()) | {form}}.items()))

    def remove(self, day: int, form: str) -> None:
        """Delete a file, if it is there; a large one is only put away."""
        self._let_go(day, form)
        path = self.path(day, form)
        with unavailable_as_error(path):
            put_away(path)
        if self._files is not None and day in self._files:
            self._files[day].discard(form)
            if not self._files[day]:
                del self._files[day]

    def put_in_place(self, day: int) -> None:
        """Make the part of an archive, which is whole and on disk, the archive of its day."""
        archive = self.path(day, ARCHIVE)
        with unavailable_as_error(archive):
            replace(archive, self.path(day, PART))
            sync(self.folder)
        self.made(day, ARCHIVE)
        self.remove(day, PART)

    def freeze_late(self, day: int) -> bool:
        """Make what came late for an archived day the file from which it is archived anew; ``False``: not now."""
        connection = self._database(day, LATE)
        late, plain = self.path(day, LATE), self.path(day, PLAIN)
        with unavailable_as_error(late):
            if connection is None:
                return False
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                return False  # somebody reads what is not yet in the file itself
            self._let_go(day, LATE)
            self.remove(day, PLAIN)  # of a file deleted before, no companion must be left
            late.rename(plain)
        self.made(day, PLAIN)
        self.remove(day, LATE)
        return True

    def place(self, readings: Readings) -> None:
        """Put readings, sorted and each identity once, where they belong, over what is there. May be repeated."""
        rows = Rows.of(readings)
        for day, first, end in spans(rows.hour // 24):
            for start in range(first, end, SHEET_ROWS):
                self._place_some(day, rows.take(slice(start, min(start + SHEET_ROWS, end))))

    def _place_some(self, day: int, rows: Rows) -> None:
        """Place rows of one day, all or none."""
        form = LATE if self.files().get(day, set()) & {ARCHIVE, PART} else PLAIN
        connection = self._database(day, form, make=True)
        assert connection is not None  # noqa: S101 - a writable folder makes the file
        with (
            unavailable_as_error(self.path(day, form)),
            self._sheets.shown(connection, rows.key, rows.value, rows.product),
            transaction(connection),
        ):
            for hour, first, end in spans(rows.hour):
                connection.execute(
                    f"INSERT OR REPLACE INTO h{hour % 24:02} SELECT k, v, p FROM sheet.sheet"  # noqa: S608 - a number
                    " WHERE rowid >= ? AND rowid < ? ORDER BY rowid",
                    (FIRST_ROW + first, FIRST_ROW + end),
                )

    def everything(self) -> Iterator[Readings]:
        """All readings, day by day, and of each day some devices at a time."""
        for day in self.days():
            yield from self.pieces(day, READ_AT_ONCE, (LATE, PLAIN, ARCHIVE))

    def pieces(self, day: int, rows: int, forms: tuple[str, ...]) -> Iterator[Readings]:
        """All readings that some of a day's files hold, about so many at a time, each device's together, ascending."""
        first, width = 0, 64
        end = 1 + max(self._last_device(day, form) for form in forms)
        while first < end:
            parts = [self._between(day, form, first, first + width) for form in forms]
            part = Readings.join([Readings.empty(), *parts])
            if len(part):
                yield part
            first += width
            width = max(1, min(4 * width, width * rows // max(1, len(part))))

    def _last_device(self, day: int, form: str) -> int:
        if form == ARCHIVE:
            archive = self._archive(day)
            return archive.last_device if archive else 0
        connection = self._database(day, form)
        if connection is None:
            return 0
        with unavailable_as_error(self.path(day, form)):
            newest = " UNION ALL ".join(f"SELECT max(k) AS k FROM h{hour:02}" for hour in range(24))  # noqa: S608 - numbers
            return int(connection.execute(f"SELECT ifnull(max(k), 0) FROM ({newest})").get) >> DEVICE_SHIFT  # noqa: S608

    def _between(self, day: int, form: str, first: int, end: int) -> Readings:
        """The readings of the devices ``[first, end)`` in one of a day's files."""
        if form == ARCHIVE:
            archive = self._archive(day)
            return archive.between(first, end) if archive else Readings.empty()
        low, high = first << DEVICE_SHIFT, end << DEVICE_SHIFT
        hours = (self._rows(day * 24 + hour, form, low, high) for hour in range(24))
        return Readings.join([Readings.of_rows(rows) for rows in hours])

    def of_device(self, device: int, hour: int) -> list[Row]:
        """One device's readings of one hour, in order of time and code; one may be there twice."""
        first = device << DEVICE_SHIFT
        # In this order, a reading that the rollup moves from one file to the next meanwhile is not missed.
        rows = self._rows(hour, LATE, first, first + (1 << DEVICE_SHIFT))
        more = self._rows(hour, PLAIN, first, first + (1 << DEVICE_SHIFT))
        archive = self._archive(hour // 24)
        if archive is None and not rows:
            return more
        if archive is not None:
            more += archive.of_device(device, hour * HOUR_MS)
        return sorted(rows + more, key=lambda row: row[1:3])

    def look_again(self) -> None:
        """Another process may have made and removed files since."""
        self._files = None
        self.close()

    def check(self) -> None:
        """Bring all day files to the newest schema; ``SetupError`` if one belongs to another main file."""
        for day in self.days():
            for form in (PLAIN, LATE):
                self._database(day, form)
            self._archive(day)

    def close(self) -> None:
        """Let go of all files."""
        while self._open:
            self._open.popitem()[1].close()
        while self._archives:
            self._archives.popitem()[1].close()

    def _rows(self, hour: int, form: str, low: int, high: int) -> list[Row]:
        connection = self._database(hour // 24, form)
        if connection is None:
            return []
        with unavailable_as_error(self.path(hour // 24, form)):
            found = connection.execute(
                f"SELECT k, v, p FROM h{hour % 24:02} WHERE k >= ? AND k < ? ORDER BY k",  # noqa: S608 - a number
                (low, high),
            )
            return rows_of(hour, found)

    def _let_go(self, day: int, form: str) -> None:
        opened = self._archives.pop(day, None) if form == ARCHIVE else self._open.pop((day, form), None)
        if opened is not None:
            opened.close()

    def _archive(self, day: int) -> Archive | None:
        archive = self._archives.pop(day, None)
        if archive is None:
            if not self._may_be_there(day, ARCHIVE):
                return None
            path = self.path(day, ARCHIVE)
            archive = Archive(path)
            self._expect_own(archive, archive.store, path)
            if len(self._archives) >= _ARCHIVES_OPEN_MAX:
                self._archives.pop(next(iter(self._archives))).close()
        self._archives[day] = archive
        return archive

    def _database(self, day: int, form: str, *, make: bool = False) -> apsw.Connection | None:
        connection = self._open.pop((day, form), None)
        if connection is None:
            if not make and not self._may_be_there(day, form):
                return None
            path = self.path(day, form)
            if not self._writable:
                connection = open_if_there(path, "day")
            else:
                mark = ("INSERT INTO day VALUES (?, ?)", (day * DAY_MS, self.store))
                connection = open_database(path, "day", writable=True, once=mark)
            if connection is None:
                return None
            self._expect_own(connection, connection.execute("SELECT store FROM day").get, path)
            self.made(day, form)
            if len(self._open) >= _OPEN_MAX:
                other_day, _ = oldest = next(iter(self._open))
                self._open.pop(oldest).close()
                # When it is asked for again, its readings may have moved on: see `_may_be_there`.
                self._absent = {(absent, kind) for absent, kind in self._absent if absent != other_day}
        self._open[day, form] = connection  # the newest used is last
        return connection

    def _may_be_there(self, day: int, form: str) -> bool:
        if self._writable:
            return form in self.files().get(day, set())
        if (day, form) in self._absent:
            return False
        there = self.path(day, form).exists()
        if not there:
            self._absent.add((day, form))  # asked once, in the order in which readings move on: see `of_device`
        return there

    def _expect_own(self, opened: apsw.Connection | Archive, store: int, path: Path) -> None:
        if store != self.store:
            opened.close()
            msg = (
                f"{path} belongs to another store than its main file, which knows its devices by other numbers:"
                " restore the two from one backup"
            )
            raise SetupError(msg)
