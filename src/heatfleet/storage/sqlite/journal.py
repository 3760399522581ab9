"""The journal: where accepted readings are made durable, one packed row per group commit.

The server appends to the newest file; a new one is begun now and then, and the rollup deletes those it is done with.
So each file has one writer, and room comes back without a slow DELETE.

A row's ``body`` is a block, as ``storage.block`` describes it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

import apsw

from heatfleet.storage.block import Block
from heatfleet.storage.sqlite.connect import open_database, open_if_there, unavailable_as_error
from heatfleet.storage.sqlite.removal import cut_away, put_away

FILE_BYTES_MAX = 64 * 1024 * 1024
BUSY_TIMEOUT_MS = 1_500
"""Whoever waits for an answer learns within two seconds that the file is locked."""


def journal_files(folder: Path) -> list[Path]:
    """The journal's files, oldest first; each is named by its first sequence number."""
    return sorted(folder.glob("journal-*.db"))


class JournalWriter:
    """Appends to the newest file. One writer a store: the caller holds the lock that says so."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Go on in the newest file, or begin one; the figures count all rows up to ``after``."""
        self._folder = folder
        files = journal_files(folder)
        for path in files[:-1]:
            open_database(path, "journal", writable=True).close()  # readers expect the newest schema
        self._path = files[-1] if files else self._name(after + 1)
        self._connection = _open_to_append(self._path)
        last = self._connection.execute("SELECT max(seq) FROM journal").get
        # An empty newest file still knows, by its name, what came before it.
        self._seq = self._first_seq() - 1 if last is None else last
        self._file_bytes = self._path.stat().st_size
        if self._seq < after:  # files were lost; a number must not be used again, or it would be taken for counted
            self._seq = after
            self._begin_file()

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Write a row for each block; all on disk when this returns, none there when ``StoreUnavailable`` is raised."""
        rows = [
            (self._seq + number, received_ms, block.count, block.body) for number, block in enumerate(blocks, start=1)
        ]
        with unavailable_as_error(self._path):
            if self._file_bytes > FILE_BYTES_MAX:
                self._begin_file()
            # One statement is one transaction, and one hand-over of the interpreter lock.
            self._connection.execute(
                "INSERT INTO journal VALUES" + ", ".join(["(?, ?, ?, ?)"] * len(rows)), tuple(chain.from_iterable(rows))
            )
        self._seq += len(rows)
        self._file_bytes += sum(len(block.body) for block in blocks)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _begin_file(self) -> None:
        path = self._name(self._seq + 1)
        connection = _open_to_append(path)
        self._connection.close()
        self._path, self._connection, self._file_bytes = path, connection, 0

    def _name(self, first_seq: int) -> Path:
        return self._folder / f"journal-{first_seq:012}.db"

    def _first_seq(self) -> int:
        return int(self._path.stem.removeprefix("journal-"))


def _open_to_append(path: Path) -> apsw.Connection:
    connection = open_database(path, "journal", writable=True)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


class JournalReader:
    """Reads what the server appended; opened beside it, never in its way."""

    def __init__(self, folder: Path) -> None:
        """Look into this folder at each call: files come and go."""
        self._folder = folder

    def after(self, seq: int, readings_max: int) -> tuple[int, list[bytes], bool]:
        """The last seq taken, bodies of the rows after ``seq`` up to that, and whether there are more.

        At least one row if there is any, and not more than ``readings_max`` readings otherwise.
        """
        bodies: list[bytes] = []
        readings = 0
        for row_seq, count, body in self._rows(seq):
            if bodies and readings + count > readings_max:
                return seq, bodies, True
            seq, readings = row_seq, readings + count
            bodies.append(body)
        return seq, bodies, False

    def oldest_after(self, seq: int) -> int | None:
        """When the oldest row after ``seq`` was received (ms), ``None`` if there is none."""
        for connection in self._connections():
            received_ms = connection.execute(
                "SELECT received_ms FROM journal WHERE seq > ? ORDER BY seq LIMIT 1",
                (seq,),
            ).get
            if received_ms is not None:
                return int(received_ms)
        return None

    def forget(self, seq: int) -> None:
        """Delete the files whose rows are all ``<= seq``; the newest stays, it carries the numbering on."""
        with unavailable_as_error(self._folder):
            for path, following in pairwise(journal_files(self._folder)):
                if int(following.stem.removeprefix("journal-")) <= seq + 1:
                    put_away(path)
            for left in (*self._folder.glob("journal-*.db-shm"), *self._folder.glob("journal-*.db-wal")):
                if not left.with_name(left.name[:-4]).exists():  # a reader came between and made it anew
                    left.unlink(missing_ok=True)
            for _ in cut_away(self._folder, ["journal-"]):  # 64 MB each, so there is nothing to wait for in between
                pass

    def _rows(self, seq: int) -> Iterator[tuple[int, int, bytes]]:
        for connection in self._connections():
            yield from connection.execute("SELECT seq, readings, body FROM journal WHERE seq > ? ORDER BY seq", (seq,))

    def _connections(self) -> Iterator[apsw.Connection]:
        for path in journal_files(self._folder):
            with unavailable_as_error(path):
                connection = open_if_there(path, "journal")
                if connection is None:
                    continue
                try:
                    yield connection
                finally:
                    connection.close()
