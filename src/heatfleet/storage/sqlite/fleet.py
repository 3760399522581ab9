"""The newest word of every device, held in memory by the rollup and kept in the table ``device``.

Two million devices take about 120 MB. The rollup needs them all anyway: whoever spoke within the hold is still
counted as time goes on.
"""

import apsw
import numpy as np

from heatfleet.storage.sqlite.columns import Floats, Ints, Moments, ranks_by_name
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.names import NameIndex, Names

NEVER = -(1 << 62)
FLEET = 0
"""The product number under which the whole fleet is summed."""
NEW_DEVICE = f"INSERT INTO device (name, product, first_ms, last_ms) VALUES (?, 0, {-NEVER}, {NEVER})"  # noqa: S608 - numbers of ours
LOADED_AT_ONCE = 100_000


class Fleet:
    """Columns indexed by device number; number 0 is nobody. ``NEVER`` and NaN stand for what was never told."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Load the devices and products of an opened main file."""
        self._connection = connection
        self._device_index = NameIndex()
        self._product_index = NameIndex()
        self._allocate(1 + int(connection.execute("SELECT ifnull(max(id), 0) FROM device").get))
        for first in range(1, len(self.product), LOADED_AT_ONCE):
            self._load(first)
        self._load_products()

    def _allocate(self, size: int) -> None:
        self.product: Ints = np.zeros(size, np.int64)
        self.first_ms: Ints = np.full(size, -NEVER, np.int64)
        self.last_ms: Ints = np.full(size, NEVER, np.int64)
        self.power_w: Floats = np.full(size, np.nan)
        self.power_ms: Ints = np.full(size, NEVER, np.int64)
        self.temperature_c: Floats = np.full(size, np.nan)
        self.temperature_ms: Ints = np.full(size, NEVER, np.int64)

    def _load(self, first: int) -> None:
        rows = select(
            self._connection,
            "SELECT id, name, product, first_ms, last_ms, power_w, power_ms, temperature_c, temperature_ms FROM device"
            " WHERE id >= ? AND id < ?",
            first,
            first + LOADED_AT_ONCE,
        )
        device, name, product, first_ms, last_ms, power_w, power_ms, temperature_c, temperature_ms = zip(
            *rows, strict=True
        )
        at = np.array(device, np.int64)
        self._device_index.add(Names.of(name), at)
        self.product[at] = product
        self.first_ms[at] = first_ms
        self.last_ms[at] = last_ms
        self.power_w[at] = np.array(power_w, np.float64)
        self.power_ms[at] = [NEVER if value is None else value for value in power_ms]
        self.temperature_c[at] = np.array(temperature_c, np.float64)
        self.temperature_ms[at] = [NEVER if value is None else value for value in temperature_ms]

    def _load_products(self) -> None:
        names = self.products()
        self.product_rank = ranks_by_name(names)
        del names[FLEET]
        if names:
            self._product_index = NameIndex()
            self._product_index.add(Names.of(list(names.values())), np.array(list(names)))

    def devices(self, first: int, last: int) -> dict[int, str]:
        """The names of the devices from one number to another, both included."""
        return dict(select(self._connection, "SELECT id, name FROM device WHERE id BETWEEN ? AND ?", first, last))

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
        numbers, new = self._numbered(names, self._device_index, NEW_DEVICE)
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
            numbers, _ = index.find(names)
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

    def everyone(self) -> Ints:
        """All devices that were ever heard."""
        return np.flatnonzero(self.last_ms != NEVER)

    def save(self, device: Ints) -> None:
        """Write the state of these devices to the table."""
        self._connection.executemany(
            "UPDATE device SET product = ?, first_ms = ?, last_ms = ?, power_w = ?, power_ms = ?, temperature_c = ?,"
            " temperature_ms = ? WHERE id = ?",
            zip(
                self.product[device].tolist(),
                self.first_ms[device].tolist(),
                self.last_ms[device].tolist(),
                *_told(self.power_w[device], self.power_ms[device]),
                *_told(self.temperature_c[device], self.temperature_ms[device]),
                device.tolist(),
                strict=True,
            ),
        )

    def forget(self) -> None:
        """Forget what all devices said, but not their numbers: the start of a rebuild."""
        self._allocate(len(self.product))
        self._connection.execute(
            "UPDATE device SET product = 0, first_ms = ?, last_ms = ?, power_w = NULL, power_ms = NULL,"
            " temperature_c = NULL, temperature_ms = NULL",
            (-NEVER, NEVER),
        )


_COLUMNS = ("product", "first_ms", "last_ms", "power_w", "power_ms", "temperature_c", "temperature_ms")


def _told(values: Floats, times_ms: Ints) -> tuple[list[float | None], list[int | None]]:
    """Values and times as lists, with ``None`` where nothing was told."""
    told = (times_ms != NEVER).tolist()
    return (
        [value if is_told else None for value, is_told in zip(values.tolist(), told, strict=True)],
        [time_ms if is_told else None for time_ms, is_told in zip(times_ms.tolist(), told, strict=True)],
    )
