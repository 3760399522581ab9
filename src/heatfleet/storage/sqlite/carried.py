"""What removed days leave behind: each device's newest reading of each code before the first day that is kept.

That is all that later figures need of earlier readings: the newest value, however old, and the device's last moment. So
figures after that instant are to the digit what they were.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np

from heatfleet.domain.slots import DAY_MS
from heatfleet.errors import SetupError
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.connect import open_database, open_if_there, select, transaction, unavailable_as_error

CARRIED_PART_SHIFT = 15
"""A part is 32,768 devices: at most 1.6 MB."""
_ROW = np.dtype([("device", "<u4"), ("time_ms", "<i8"), ("code", "u1"), ("value", "<f8"), ("product", "<u4")])
ROW_BYTES = _ROW.itemsize


class Carried:
    """The file ``carried.db``, which is there once days were removed. Not for use by two threads at a time."""

    def __init__(self, folder: Path, *, store: int) -> None:
        """Open the file if it is there; ``SetupError`` if it belongs to another store."""
        self._path = folder / "carried.db"
        self._store = store
        self._connection: apsw.Connection | None = None
        self._kept: tuple[int, Readings] | None = None
        self.look_again()

    def look_again(self) -> None:
        """Another process may have removed days since."""
        self._kept = None
        if self._connection is None:
            self._connection = self._checked(open_if_there(self._path, "carried"))

    def from_ms(self) -> int:
        """Midnight of the first day whose readings are kept; 0 if none was ever removed."""
        if self._connection is None:
            return 0
        with unavailable_as_error(self._path):
            return int(self._connection.execute("SELECT from_ms FROM kept").get)

    def of_device(self, device: int) -> list[Row]:
        """One device's carried readings, one of each code at most, in order of time."""
        part = self._part(device >> CARRIED_PART_SHIFT)
        rows = part.take(slice(*np.searchsorted(part.device, [device, device + 1]))).rows()
        return sorted(rows, key=lambda row: row[1])

    def everything(self) -> Iterator[Readings]:
        """All carried readings, some devices at a time, in ascending order of device."""
        if self._connection is not None:
            for (part,) in select(self._connection, "SELECT part FROM carried ORDER BY part"):
                yield self._part(part)

    def replace(self, parts: dict[int, bytes], from_ms: int) -> None:
        """Carry these, packed by ``pack``, for an instant further on; all of it or nothing."""
        if self._connection is None or self._connection.readonly("main"):
            self.close()
            once = ("INSERT INTO kept VALUES (?, ?)", (0, self._store))
            self._connection = self._checked(open_database(self._path, "carried", writable=True, once=once))
            assert self._connection is not None  # noqa: S101 - for mypy: a writable file is there
        with unavailable_as_error(self._path), transaction(self._connection):
            self._connection.execute("DELETE FROM carried")
            self._connection.executemany("INSERT INTO carried VALUES (?, ?)", parts.items())
            self._connection.execute("UPDATE kept SET from_ms = ?", (from_ms,))
        self._kept = None

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _checked(self, connection: apsw.Connection | None) -> apsw.Connection | None:
        if connection is not None and connection.execute("SELECT store FROM kept").get != self._store:
            connection.close()
            msg = f"{self._path} belongs to another store than its main file: restore the two from one backup"
            raise SetupError(msg)
        return connection

    def _part(self, part: int) -> Readings:
        if self._kept is None or self._kept[0] != part:
            self._kept = part, self._read(part)
        return self._kept[1]

    def _read(self, part: int) -> Readings:
        if self._connection is None:
            return Readings.empty()
        with unavailable_as_error(self._path):
            body = self._connection.execute("SELECT body FROM carried WHERE part = ?", (part,)).get
        rows = np.frombuffer(body or b"", _ROW)
        device, code, product = (rows[name].astype(np.int64) for name in ("device", "code", "product"))
        return Readings(device, rows["time_ms"].astype(np.int64), code, rows["value"].astype(np.float64), product)


def bring_up_to_date(folder: Path) -> None:
    """Migrate the file to the newest schema; nothing if it is not there, or was only begun when its writer died."""
    path = folder / "carried.db"
    if path.exists():
        with closing(open_database(path, "carried", writable=False, any_version=True)) as connection:
            is_made = connection.pragma("user_version") > 0
        if is_made:
            open_database(path, "carried", writable=True).close()


def pack(readings: Readings) -> bytes:
    """Readings in ascending order of device, as they stand in a ``body``: 25 bytes each, as ``_ROW`` has it."""
    rows = np.empty(len(readings), _ROW)
    rows["device"], rows["time_ms"], rows["code"] = readings.device, readings.time_ms, readings.code
    rows["value"], rows["product"] = readings.value, readings.product
    return rows.tobytes()


def due_ms(newest_ms: int, retention_days: int) -> int:
    """Midnight of the first day to keep, given the newest reading there is.

    The day before the oldest reading that is taken is kept too: a figure tells which devices were known in the day
    before it, and what was accepted just in time is long counted when its neighbours go. Counted from a reading and
    not from the clock, since a wrong clock must not remove anything.
    """
    return (newest_ms // DAY_MS - retention_days - 1) * DAY_MS
