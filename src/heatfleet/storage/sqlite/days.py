"""The readings in their place: one file a UTC day, one table an hour, clustered by device and time.

Old days go by deleting their file. ``schema/day_001.sql`` describes the columns.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import apsw
import numpy as np

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import SetupError
from heatfleet.storage.sqlite.columns import Readings, Row, order_by
from heatfleet.storage.sqlite.connect import open_database, open_if_there, transaction, unavailable_as_error

DEVICE_SHIFT = 23
_TIME_MASK = (1 << DEVICE_SHIFT - 1) - 1
_OPEN_MAX = 64
ROWS_A_STATEMENT = 64
READ_AT_ONCE = 500_000


class DayFiles:
    """The day files of one store. Not for use by two threads at a time."""

    def __init__(self, folder: Path, *, store: int, writable: bool) -> None:
        """Open files as they are needed, and keep the last few open."""
        self._folder = folder
        self._store = store
        self._writable = writable
        self._open: dict[int, apsw.Connection] = {}
        self._days: list[int] | None = None

    def days(self) -> list[int]:
        """The days that have a file, as days since 1970, ascending."""
        if self._days is not None:
            return self._days
        names = (re.fullmatch(r"readings-(\d{4}-\d{2}-\d{2})\.db", path.name) for path in self._folder.iterdir())
        days = sorted(
            int(datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()) * 1000 // DAY_MS
            for match in names
            if match
        )
        if self._writable:  # no other process makes such files while this one holds the lock of the rollup
            self._days = days
        return days

    def remove_before(self, day: int) -> None:
        """Delete the files of all earlier days: their room is free at once."""
        for old in [found for found in self.days() if found < day]:
            if old in self._open:
                self._open.pop(old).close()
            path = self._path(old)
            with unavailable_as_error(path):
                for companion in ("", "-wal", "-shm"):
                    path.with_name(f"{path.name}{companion}").unlink(missing_ok=True)
        if self._days is not None:
            self._days = [kept for kept in self._days if kept >= day]

    def place(self, readings: Readings) -> None:
        """Put readings, sorted and each identity once, where they belong, over what is there. May be repeated."""
        hour = readings.time_ms // HOUR_MS
        in_hour = readings.device << DEVICE_SHIFT | readings.time_ms % HOUR_MS << 1 | readings.code
        order = order_by(hour, in_hour)
        rows, hour = readings.take(order), hour[order]
        edges = np.flatnonzero(np.r_[True, np.diff(hour) != 0, True]) if len(hour) else np.empty(0, np.int64)
        by_day: dict[int, list[tuple[int, Readings]]] = {}
        for start, end in pairwise(edges):
            number = int(hour[start])
            by_day.setdefault(number // 24, []).append((number, rows.take(slice(start, end))))
        for day, hours in by_day.items():
            self._place_day(day, hours)

    def _place_day(self, day: int, hours: list[tuple[int, Readings]]) -> None:
        connection = self._connection(day)
        assert connection is not None  # noqa: S101 - a writable folder makes the file
        with unavailable_as_error(self._path(day)), transaction(connection):
            for hour, part in hours:
                key = part.device << DEVICE_SHIFT | (part.time_ms - hour * HOUR_MS) << 1 | part.code
                flat: list[float] = [0] * (3 * len(part))
                flat[::3], flat[1::3], flat[2::3] = key.tolist(), part.value.tolist(), part.product.tolist()
                # Many rows a statement: a third less work than one each.
                many = len(part) // ROWS_A_STATEMENT * ROWS_A_STATEMENT * 3
                for values, rows in ((flat[:many], ROWS_A_STATEMENT), (flat[many:], 1)):
                    connection.executemany(
                        f"INSERT OR REPLACE INTO h{hour % 24:02} VALUES" + ", ".join(["(?, ?, ?)"] * rows),
                        zip(*[iter(values)] * (3 * rows), strict=True),
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
        """Another process may have made and removed files since."""
        self._days = None
        self.close()

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
        return self._folder / f"readings-{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}.db"

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
