"""Sheets: NumPy columns in a form that SQL reads, without a Python object for each value.

A sheet is the image of a database in memory with one table of equal rows. SQLite makes the image; NumPy then writes
over the values where they lie, eight bytes each, at equal distances (https://www.sqlite.org/fileformat2.html). A
connection that attaches a copy reads them with plain SQL, and what it stores elsewhere is written by SQLite itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import numpy as np

from heatfleet.storage.sqlite.columns import Floats, Ints

FIRST_ROW = 1 << 21
"""The number of the first row: numbers from here to 2^28 take four bytes, so that all rows are equally long."""
_PAGE_BYTES = 65_536
_VALUES = np.dtype([("k", ">i8"), ("v", ">f8"), ("p", ">i8")])
_ROW_BYTES = 1 + 4 + 4 + _VALUES.itemsize  # how long it is, its number, its types, its values
ROWS_A_PAGE = (_PAGE_BYTES - 8) // (_ROW_BYTES + 2)
SHEET_ROWS = 128 * ROWS_A_PAGE
"""Room of the largest sheet, 240,000 rows in 8 MB; larger ones gained nothing."""
_UNSET = (1 << 62, 0.5, 1 << 62)  # numbers that SQLite cannot store in less than eight bytes


class Sheets:
    """Shows columns to connections, at most ``SHEET_ROWS`` rows at once. Not for use by two threads at a time."""

    def __init__(self) -> None:
        self._made: dict[int, _Sheet] = {}

    @contextmanager
    def shown(self, connection: apsw.Connection, key: Ints, value: Floats, product: Ints) -> Iterator[None]:
        """Let a connection that is in no transaction read the columns as the table ``sheet.sheet (k, v, p)``.

        The rows have the columns' order and the ``rowid`` ``FIRST_ROW`` and on; rows after them mean nothing.
        """
        # Sizes double: few are made, and few rows need no large one.
        pages = 1 << (-(-len(key) // ROWS_A_PAGE) - 1).bit_length()
        if pages not in self._made:
            self._made[pages] = _Sheet(pages)
        sheet = self._made[pages]
        sheet.fill(key, value, product)
        connection.execute("ATTACH ':memory:' AS sheet")
        try:
            connection.deserialize("sheet", sheet.image)
            yield
        finally:
            connection.execute("DETACH sheet")


class _Sheet:
    """The image, and the view through which its rows are written."""

    def __init__(self, pages: int) -> None:
        connection = apsw.Connection(":memory:")
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}; CREATE TABLE sheet (k, v, p)")
            connection.execute("INSERT INTO sheet (rowid, k, v, p) VALUES (?, ?, ?, ?)", (FIRST_ROW, *_UNSET))
            others = apsw.carray(np.empty(pages * ROWS_A_PAGE - 1, np.int64))
            connection.execute("INSERT INTO sheet SELECT ?, ?, ? FROM carray(?)", (*_UNSET, others))
            self.image = bytearray(connection.serialize("main"))
        finally:
            connection.close()
        # The pages of rows are the last of the image, and rows fill a page from its end.
        self._rows = np.ndarray(
            (pages, ROWS_A_PAGE),
            _VALUES,
            self.image,
            offset=len(self.image) - (pages - 1) * _PAGE_BYTES - _VALUES.itemsize,
            strides=(_PAGE_BYTES, -_ROW_BYTES),
        )
        if not (self._rows == np.array(_UNSET, _VALUES)).all():
            msg = "this SQLite lays out rows in another way than the one that Heatfleet was tested with"
            raise RuntimeError(msg)

    def fill(self, key: Ints, value: Floats, product: Ints) -> None:
        pages, rest = divmod(len(key), ROWS_A_PAGE)
        for name, column in (("k", key), ("v", value), ("p", product)):
            cells = self._rows[name]
            cells[:pages] = column[: len(column) - rest].reshape(pages, ROWS_A_PAGE)
            if rest:
                cells[pages, :rest] = column[len(column) - rest :]
