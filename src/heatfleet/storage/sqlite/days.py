"""The readings in their place: one file a UTC day, one table an hour, clustered by device and time.

Old days go by deleting their file. ``schema/day_001.sql`` describes the columns.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Self

import apsw
import numpy as np

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import SetupError
from heatfleet.storage.sqlite.columns import Columns, Floats, Ints, Readings, Row, order_by
from heatfleet.storage.sqlite.connect import open_database, open_if_there, transaction, unavailable_as_error
from heatfleet.storage.sqlite.sheet import FIRST_ROW, SHEET_ROWS, Sheets

DEVICE_SHIFT = 23
_TIME_MASK = (1 << DEVICE_SHIFT - 1) - 1
_OPEN_MAX = 64
READ_AT_ONCE = 500_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_is_day_file = re.compile(r"readings-(\d{4}-\d{2}-\d{2})\.db").fullmatch


class DayFiles:
    """The day files of one store. Not for use by two threads at a time."""

    def __init__(self, folder: Path, *, store: int, writable: bool) -> None:
        """Open files as they are needed, and keep the last few open."""
        self._folder = folder
        self._store = store
        self._writable = writable
        self._open: dict[int, apsw.Connection] = {}
        self._days: list[int] | None = None
        self._sheets = Sheets()

    def days(self) -> list[int]:
        """The days that have a file, as days since 1970, ascending; looked up once, see ``look_again``."""
        if self._days is None:
            names = os.listdir(self._folder)  # noqa: PTH208 - there are thousands, and a path for each takes time
            found = map(_is_day_file, names)
            self._days = sorted(date.fromisoformat(match[1]).toordinal() - _EPOCH_ORDINAL for match in found if match)
        return self._days

    def place(self, readings: Readings) -> None:
        """Put readings, sorted and each identity once, where they belong, over what is there. May be repeated."""
        rows = _Rows.of(readings)
        for day, first, end in _spans(rows.hour // 24):
            for start in range(first, end, SHEET_ROWS):
                self._place_some(day, rows.take(slice(start, min(start + SHEET_ROWS, end))))

    def _place_some(self, day: int, rows: "_Rows") -> None:
        """Place rows of one day, all or none."""
        connection = self._connection(day)
        assert connection is not None  # noqa: S101 - a writable folder makes the file
        with (
            unavailable_as_error(self._path(day)),
            self._sheets.shown(connection, rows.key, rows.value, rows.product),
            transaction(connection),
        ):
            for hour, first, end in _spans(rows.hour):
                connection.execute(
                    f"INSERT OR REPLACE INTO h{hour % 24:02} SELECT k, v, p FROM sheet.sheet"  # noqa: S608 - a number
                    " WHERE rowid >= ? AND rowid < ? ORDER BY rowid",
                    (FIRST_ROW + first, FIRST_ROW + end),
                )

    def everything(self) -> Iterator[Readings]:
        """All readings, hour by hour in order, and of each hour some devices at a time, sorted."""
        for day in self.days():
            for hour in range(day * 24, day * 24 + 24):
                first, limit = 0, READ_AT_ONCE
                while rows := self._rows(hour, first, 1 << 62, limit):
                    part = Readings.of_rows(rows)
                    if len(rows) == limit:  # the last device may go on: leave it to the next part
                        part = part.take(part.device < part.device[-1])
                        if not len(part):
                            limit *= 2
                            continue
                    yield part
                    first = (int(part.device[-1]) + 1) << DEVICE_SHIFT

    def of_device(self, device: int, hour: int) -> list[Row]:
        """One device's readings of one hour, in order of time and code."""
        first = device << DEVICE_SHIFT
        return self._rows(hour, first, first + (1 << DEVICE_SHIFT))

    def look_again(self) -> None:
        """Another process may have made files since."""
        self._days = None

    def check(self) -> None:
        """Bring all day files to the newest schema; ``SetupError`` if one belongs to another main file."""
        for day in self.days():
            self._connection(day)

    def close(self) -> None:
        """Let go of all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _rows(self, hour: int, low: int, high: int, limit: int = -1) -> list[Row]:
        connection = self._connection(hour // 24)
        if connection is None:
            return []
        with unavailable_as_error(self._path(hour // 24)):
            found = connection.execute(
                f"SELECT k, v, p FROM h{hour % 24:02} WHERE k >= ? AND k < ? ORDER BY k LIMIT ?",  # noqa: S608 - a number
                (low, high, limit),
            )
            start_ms = hour * HOUR_MS
            return [(k >> DEVICE_SHIFT, start_ms + (k >> 1 & _TIME_MASK), k & 1, v, p) for k, v, p in found]

    def _path(self, day: int) -> Path:
        return self._folder / f"readings-{date.fromordinal(_EPOCH_ORDINAL + day)}.db"

    def _connection(self, day: int) -> apsw.Connection | None:
        connection = self._open.pop(day, None)
        if connection is None:
            path = self._path(day)
            if self._writable:
                mark = ("INSERT INTO day VALUES (?, ?)", (day * DAY_MS, self._store))
                connection = open_database(path, "day", writable=True, once=mark)
            else:
                connection = open_if_there(path, "day")
            if connection is None:
                return None
            if connection.execute("SELECT store FROM day").get != self._store:
                connection.close()
                msg = (
                    f"{path} belongs to another store than its main file, which knows its devices by other numbers:"
                    " restore the two from one backup"
                )
                raise SetupError(msg)
            if self._days is not None and day not in self._days:
                self._days = sorted([*self._days, day])
            if len(self._open) >= _OPEN_MAX:
                self._open.pop(next(iter(self._open))).close()
        self._open[day] = connection  # the newest used is last
        return connection


@dataclass(frozen=True, slots=True)
class _Rows(Columns):
    """Readings as the tables have them, in order of hour and key."""

    hour: Ints
    key: Ints
    value: Floats
    product: Ints

    @classmethod
    def of(cls, readings: Readings) -> Self:
        hour = readings.time_ms // HOUR_MS
        key = readings.device << DEVICE_SHIFT | (readings.time_ms - hour * HOUR_MS) << 1 | readings.code
        rows = cls(hour, key, readings.value, readings.product)
        if (hour == hour[:1]).all():  # as most often; then they are in order already
            return rows
        return rows.take(order_by(hour, key))


def _spans(values: Ints) -> Iterator[tuple[int, int, int]]:
    """Where neighbours are equal: the value, its first place, and the place after its last."""
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
    for first, end in pairwise(edges.tolist()):
        yield int(values[first]), first, end
