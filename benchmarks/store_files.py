"""Work on the files of a store from outside the server: fill its journal, weigh what it keeps."""

import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.fleet import PRODUCTS, Columns, MadeUpFleet, Text
from benchmarks.servers import STORE
from heatfleet.storage import open_store
from heatfleet.storage.block import FORMAT
from heatfleet.storage.sqlite.connect import open_database
from heatfleet.storage.sqlite.journal import FILE_BYTES_MAX, journal_files

HEAD_BYTES = 20
READINGS_AT_ONCE = 1_000_000


def fill_journal(folder: Path, fleet: MadeUpFleet, parts: Iterable[Columns], *, a_commit: int) -> int:
    """Put readings in the journal as a server does, so many a row; gives how many there were.

    No server may run meanwhile. Nothing is synced, and many rows share a transaction: only filling is in a hurry.
    """
    store = folder / STORE
    open_store(f"sqlite:///{store}").close()  # makes what is not there
    count = 0
    with closing(_Filling(store.with_name(f"{STORE}.d"))) as filling:
        for columns in parts:
            for rows in packed(fleet, columns, a_commit):
                filling.write(rows)
            count += len(columns.device)
    return count


class _Filling:
    """Goes on in the newest file of a journal and begins others as large as the server's."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        newest = journal_files(journal)[-1]
        self._open(newest)
        last = self._connection.execute("SELECT max(seq) FROM journal").get
        self._seq = int(newest.stem.removeprefix("journal-")) - 1 if last is None else int(last)

    def write(self, rows: list[tuple[int, memoryview]]) -> None:
        """One transaction for all."""
        if self._room_bytes < 0:
            self._connection.close()
            self._open(self._journal / f"journal-{self._seq + 1:012}.db")
        now_ms = time.time_ns() // 1_000_000
        with self._connection:
            self._connection.executemany(
                "INSERT INTO journal (seq, received_ms, readings, body) VALUES (?, ?, ?, ?)",
                [(self._seq + number, now_ms, size, body) for number, (size, body) in enumerate(rows, 1)],
            )
        self._seq += len(rows)
        self._room_bytes -= sum(len(body) for _, body in rows)

    def close(self) -> None:
        self._connection.close()

    def _open(self, path: Path) -> None:
        self._connection = open_database(path, "journal", writable=True)
        self._connection.pragma("synchronous", "OFF")
        self._room_bytes = FILE_BYTES_MAX


def packed(fleet: MadeUpFleet, columns: Columns, a_commit: int) -> Iterator[list[tuple[int, memoryview]]]:
    """Rows for the journal, as (readings, body), in lots of some ten megabytes."""
    count = len(columns.device)
    whole = count - count % a_commit
    lot = max(1, 200_000 // a_commit) * a_commit
    for first in range(0, whole, lot):
        yield _rows(fleet, columns.part(first, min(first + lot, whole)), a_commit)
    if whole < count:
        yield _rows(fleet, columns.part(whole, count), count - whole)


def _rows(fleet: MadeUpFleet, columns: Columns, size: int) -> list[tuple[int, memoryview]]:
    """Bodies as `storage/block.py` describes them, all at once: all of one size, each column in its place."""
    number = len(columns.device) // size
    devices = _joined(fleet.names, columns.device.reshape(number, size))
    products = _joined(fleet.product_names, columns.device.reshape(number, size) % PRODUCTS)
    lengths = np.array([size, devices.shape[1], products.shape[1]], "<u4").view(np.uint8)
    head = np.zeros((number, HEAD_BYTES), np.uint8)
    head[:, 0] = FORMAT
    head[:, 4:16] = lengths
    time_ms = columns.time_ms.astype("<i8").reshape(number, size).view(np.uint8)
    value = columns.value.astype("<f8").reshape(number, size).view(np.uint8)
    bodies = np.hstack([head, time_ms, value, columns.code.reshape(number, size), devices, products])
    sums = np.array([zlib.crc32(body[HEAD_BYTES:]) for body in bodies], "<u4")
    bodies[:, 16:HEAD_BYTES] = sums[:, None].view(np.uint8)
    return [(size, memoryview(body)) for body in bodies]


def _joined(names: Text, places: "np.ndarray[tuple[int, int], np.dtype[np.int64]]") -> Text:
    """The names at these places, a newline between those of a row."""
    number, size = places.shape
    text = np.full((number, size, names.shape[1] + 1), ord("\n"), np.uint8)
    text[:, :, :-1] = names[places]
    return text.reshape(number, -1)[:, :-1]


def day_file_bytes(folder: Path) -> int:
    """The room that readings in their final place take."""
    return sum(path.stat().st_size for path in (folder / f"{STORE}.d").glob("readings-*.db"))


def store_bytes(folder: Path) -> int:
    """The room that all of the store takes."""
    return sum(path.stat().st_size for path in folder.glob(f"{STORE}*/*")) + sum(
        path.stat().st_size for path in folder.glob(f"{STORE}*") if path.is_file()
    )
