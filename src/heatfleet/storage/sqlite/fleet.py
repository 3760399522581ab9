"""The newest word of every device, held in memory by the rollup and kept in the table ``device_state``.

Two million devices take about 120 MB. The rollup needs them all anyway: whoever spoke within the hold is still
counted as time goes on.
"""

from itertools import chain

import apsw
import numpy as np
import numpy.typing as npt

from heatfleet.storage.sqlite.columns import Floats, Ints, Moments, first_rows, ranks_by_name
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.names import NameIndex, Names

NEVER = -(1 << 62)
FLEET = 0
"""The product number under which the whole fleet is summed."""
AT_ONCE = 100_000
"""Devices loaded or saved at a time: as rows of Python they take ten times the memory."""
ROWS_A_STATEMENT = 32
_LOAD = f"""SELECT device, product, first_ms, last_ms, power_w, ifnull(power_ms, {NEVER}), temperature_c,
    ifnull(temperature_ms, {NEVER})
FROM device_state WHERE device >= ? AND device < ?"""  # noqa: S608 - a number of ours
_SAVE = """INSERT INTO device_state VALUES {rows}
ON CONFLICT DO UPDATE SET product = excluded.product, first_ms = excluded.first_ms, last_ms = excluded.last_ms,
    power_w = excluded.power_w, power_ms = excluded.power_ms,
    temperature_c = excluded.temperature_c, temperature_ms = excluded.temperature_ms"""


class Fleet:
    """Columns indexed by device number; number 0 is nobody. ``NEVER`` and NaN stand for what was never told."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Load the devices and products of an opened main file."""
        self._connection = connection
        self._device_index = NameIndex()
        self._product_index = NameIndex()
        self._allocate(1 + int(connection.execute("SELECT ifnull(max(id), 0) FROM device_name").get))
        self._load_names()
        for first in range(1, len(self.product), AT_ONCE):
            self._load_states(first, first + AT_ONCE)
        self._load_products()

    def _allocate(self, size: int) -> None:
        self.product: Ints = np.zeros(size, np.int64)
        self.first_ms: Ints = np.full(size, -NEVER, np.int64)
        self.last_ms: Ints = np.full(size, NEVER, np.int64)
        self.power_w: Floats = np.full(size, np.nan)
        self.power_ms: Ints = np.full(size, NEVER, np.int64)
        self.temperature_c: Floats = np.full(size, np.nan)
        self.temperature_ms: Ints = np.full(size, NEVER, np.int64)
        self._touched = np.zeros(size, np.bool_)

    def _load_names(self) -> None:
        # As two texts in one step of SQL: as rows they take ten times as long.
        numbers, names = select(
            self._connection, "SELECT group_concat(id), group_concat(name, char(10)) FROM device_name"
        )[0]
        if names is not None:
            self._device_index.add(Names.of_text(names.encode()), np.fromstring(numbers, np.int64, sep=","))

    def _load_states(self, first: int, end: int) -> None:
        values = list(chain.from_iterable(self._connection.execute(_LOAD, (first, end))))
        # A float has room for any time in milliseconds, and NEVER is a power of two.
        table = np.array(values, np.float64).reshape(-1, 8).T
        at = table[0].astype(np.int64)
        for column, told in zip(self._columns(), table[1:], strict=True):
            column[at] = told.astype(column.dtype)

    def _columns(self) -> tuple[Ints | Floats, ...]:
        return (self.product, self.first_ms, self.last_ms, self.power_w, self.power_ms, self.temperature_c,
                self.temperature_ms)  # fmt: skip

    def _load_products(self) -> None:
        names = self.products()
        self.product_rank = ranks_by_name(names)
        del names[FLEET]
        if names:
            self._product_index = NameIndex()
            self._product_index.add(Names.of(list(names.values())), np.array(list(names)))

    def devices(self, first: int, last: int) -> dict[int, str]:
        """The names of the devices from one number to another, both included."""
        return dict(select(self._connection, "SELECT id, name FROM device_name WHERE id BETWEEN ? AND ?", first, last))

    def products(self) -> dict[int, str]:
        """The names of all products."""
        return dict(select(self._connection, "SELECT id, name FROM product"))

    def product_numbers(self, names: Names) -> Ints:
        """Numbers of products, new ones written down."""
        numbers, new = self._numbered(names, self._product_index, "INSERT INTO product (name) VALUES (?)")
        if new:
            self._load_products()
        return numbers

    def device_numbers(self, names: Names) -> Ints:
        """Numbers of devices; unheard ones get the next number, and room in the columns."""
        numbers, new = self._numbered(names, self._device_index, "INSERT INTO device_name (name) VALUES (?)")
        if new:
            self._grow(int(numbers.max()) + 1)
        return numbers

    def _numbered(self, names: Names, index: NameIndex, insert: str) -> tuple[Ints, int]:
        """The numbers of names, and how many of the names are new."""
        numbers, new = index.find(names)
        if len(new):
            unheard = [names.name(row) for row in new.tolist()]
            self._connection.executemany(insert, ((name,) for name in unheard))
            last = self._connection.last_insert_rowid()
            index.add(Names.of(unheard), np.arange(last - len(unheard) + 1, last + 1))
            rows = np.flatnonzero(numbers == 0)
            numbers[rows], _ = index.find(names.take(rows))
        return numbers, len(new)

    def _grow(self, size: int) -> None:
        old = {name: getattr(self, name) for name in _COLUMNS}
        have = len(self.product)
        if size <= have:
            return
        self._allocate(max(size, have + have // 4))
        for name, column in old.items():
            getattr(self, name)[:have] = column

    def newest(self, device: Ints) -> Moments:
        """The state of some devices as the moment at which each spoke last; devices never heard are left out."""
        heard = device[self.last_ms[device] != NEVER]
        return Moments(
            heard,
            self.last_ms[heard],
            self.power_w[heard],
            self.temperature_c[heard],
            self.product[heard],
        )

    def believed(self, at_ms: int, hold_ms: int) -> Ints:
        """The devices that spoke late enough to count beyond ``at_ms``."""
        return np.flatnonzero((self.last_ms != NEVER) & (self.last_ms + hold_ms > at_ms))

    def move_on(self, said: Moments, is_known: npt.NDArray[np.bool_]) -> None:
        """Move the state on to the last of these moments of each device, sorted; ``is_known`` marks those in it."""
        for values, value_column, time_column in (
            (said.power_w, self.power_w, self.power_ms),
            (said.temperature_c, self.temperature_c, self.temperature_ms),
        ):
            told = np.flatnonzero(~(np.isnan(values) | is_known))
            value_column[said.device[told]] = values[told]  # of several the last counts
            time_column[said.device[told]] = said.time_ms[told]
        self.last_ms[said.device] = said.time_ms
        self.product[said.device] = said.product
        self.touch(said.device, said.time_ms)

    def touch(self, device: Ints, time_ms: Ints) -> None:
        """Let ``save`` write these devices, in order of time each, and remember how long they have been heard."""
        first = np.flatnonzero(first_rows(device))
        device, time_ms = device[first], time_ms[first]
        self.first_ms[device] = np.minimum(self.first_ms[device], time_ms)
        self._touched[device] = True

    def save(self) -> None:
        """Write the state of the devices that were touched since the last time to the table."""
        touched = np.flatnonzero(self._touched)
        self._touched[:] = False
        for first in range(0, len(touched), AT_ONCE):
            device = touched[first : first + AT_ONCE]
            values: list[int | float | None] = [None] * (8 * len(device))
            values[::8] = device.tolist()
            for place, column in enumerate(self._columns(), start=1):
                values[place::8] = _told(column[device])
            # Many rows a statement: a third less work than one each.
            many = len(device) // ROWS_A_STATEMENT * ROWS_A_STATEMENT * 8
            for some, rows in ((values[:many], ROWS_A_STATEMENT), (values[many:], 1)):
                self._connection.executemany(
                    _SAVE.format(rows=", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)),
                    zip(*[iter(some)] * (8 * rows), strict=True),
                )

    def forget(self) -> None:
        """Forget what all devices said, but not their numbers: the start of a rebuild."""
        self._allocate(len(self.product))
        self._connection.execute("DELETE FROM device_state")


_COLUMNS = ("product", "first_ms", "last_ms", "power_w", "power_ms", "temperature_c", "temperature_ms", "_touched")


def _told(column: Ints | Floats) -> list[int | float | None]:
    """As a list, with ``None`` where nothing was told; NaN becomes NULL by itself."""
    values: list[int | float | None] = column.tolist()
    for place in np.flatnonzero(column == NEVER).tolist():
        values[place] = None
    return values
