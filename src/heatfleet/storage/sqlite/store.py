"""The SQLite store: a main file with figures and devices, and beside it a folder ``<name>.d`` with all that is large.

Every file has one writer: the journal belongs to the server, everything else to the rollup, which is most often a
process of its own. Reading never waits for either.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from queue import Empty, LifoQueue

import apsw
import numpy as np

from heatfleet.domain.slots import DAY_MS, SLOT_MS, SLOTS_PER_HOUR, slot_of
from heatfleet.errors import AnotherRollup, SetupError, StoreUnavailable
from heatfleet.storage.base import Ages, DeviceFilter, DevicePage, DeviceState, Figures, Patience, Rollup, StoreStatus
from heatfleet.storage.base.oldest import Oldest
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import devices
from heatfleet.storage.sqlite.carried import Carried, bring_up_to_date
from heatfleet.storage.sqlite.connect import (
    damage_as_error,
    exclusive,
    open_database,
    select,
    take_lock,
    unavailable_as_error,
    unfit_as_error,
)
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.device_figures import Life, reckon_device
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.journal import JournalReader, JournalWriter
from heatfleet.storage.sqlite.main_file import expect_hold, make_main_file, setting
from heatfleet.storage.sqlite.reckoner import Reckoner
from heatfleet.storage.sqlite.runs import Runs
from heatfleet.storage.sqlite.trickle import Trickle

ROLLUP_WAIT_S = 30
_LAST_SLOT = (1 << 62) // SLOT_MS
_PACKED_SUMS = """
SELECT unhex(group_concat(printf('%016x%016x%016x%016x%016x%016x%016x%016x', slot, energy_mj, known_ms,
                                 temperature_mc_ms, temperature_known_ms, devices, devices_hour, devices_day), ''))
FROM slot_sum WHERE product = (SELECT id FROM product WHERE name = ?) AND slot >= ? AND slot < ?"""
"""All rows as one value, eight numbers of 64 bits a row. A year is 35,000 rows: fetched one by one, each would be a
turn of the interpreter lock with the requests of the server, and their 280,000 numbers would each become an object."""
_LOOK_STEPS = 1_000_000  # some 50 ms, after which SQLite asks whether somebody still waits: another turn of that lock


class SqliteStore:
    """``storage.base.Store`` on SQLite files."""

    def __init__(self, path: str, *, hold_ms: int, writable: bool, ages: Ages | None = None) -> None:
        """Open the store; with ``writable`` make or migrate it, and take the one place of the server that appends.

        The store remembers ``ages`` for the rollup; ``None`` leaves them as they are.
        Raises ``SetupError`` if another server has that place, or the figures were reckoned with another hold.
        """
        self._path = Path(path).absolute()
        self._folder = self._path.with_name(f"{self._path.name}.d")
        self._hold_ms = hold_ms
        self._readers: LifoQueue[apsw.Connection] = LifoQueue()
        self._closing = ExitStack()
        self._writer: JournalWriter | None = None
        self._kept_reckoner: Reckoner | None = None  # loading the state of two million devices takes seconds
        self._ages = ages or Ages()
        self._oldest = Oldest(self._ages.retention_days, self._kept_from_ms)
        if writable:
            self._become_the_server(ages)
        else:
            self._readers.put(open_database(self._path, "main", writable=False))

    def _become_the_server(self, ages: Ages | None) -> None:
        with unavailable_as_error(self._folder), unfit_as_error(self._folder):
            try:
                self._closing.enter_context(take_lock(self._folder / "server.lock"))
            except BlockingIOError as error:
                msg = f"another server ({error}) already writes to {self._path}; stop it, or choose another store"
                raise SetupError(msg) from error
        with damage_as_error(self._path), ExitStack() as undo:
            undo.push(self._closing)
            store = make_main_file(self._path, self._hold_ms, ages)
            with closing(DayFiles(self._folder, store=store, writable=True)) as days:
                days.check()
            bring_up_to_date(self._folder)
            self._oldest.look()
            with self._reading() as connection:
                reckoned_seq = setting(connection, "reckoned_seq")
            self._writer = JournalWriter(self._folder, after=reckoned_seq)
            self._closing.callback(self._writer.close)
            undo.pop_all()

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Make readings durable; see ``Store.append``."""
        if self._writer is None:
            raise SetupError(f"{self._path} was opened for reading only")
        if kept := [block for block in blocks if block]:
            self._writer.append(kept, received_ms)

    @property
    def set_aside(self) -> int:
        """None ever; see ``Store.set_aside``."""
        return 0

    def rollup(self, now_ms: int) -> Rollup:
        """Bring the figures up to date; see ``Store.rollup``."""
        started_s = time.monotonic()
        readings = late = 0
        with self._reckoner() as reckoner:
            for taken, taken_late in reckoner.rollup(now_ms):
                readings, late = readings + taken, late + taken_late
        return Rollup(now_ms, readings, late, time.monotonic() - started_s)

    def as_of_ms(self) -> int:
        """The instant of the last rollup; see ``Store.as_of_ms``."""
        with self._reading() as connection:
            return setting(connection, "as_of_ms")

    def rebuild(self, now_ms: int) -> Rollup:
        """Make all figures again, then take what the journal holds; see ``Store.rebuild``."""
        started_s = time.monotonic()
        with self._reckoner() as reckoner:
            readings = reckoner.rebuild(now_ms)
            readings += sum(taken for taken, _ in reckoner.rollup(now_ms))
        return Rollup(now_ms, readings, 0, time.monotonic() - started_s)

    def make_room(self) -> bool:
        """Archive and remove what is old enough; see ``Store.make_room``."""
        with self._reckoner() as reckoner:
            return reckoner.make_room()

    def oldest_ms(self, now_ms: int) -> int:
        """Before which readings are refused; see ``Store.oldest_ms``."""
        return self._oldest.at(now_ms)

    @contextmanager
    def _reckoner(self) -> Iterator[Reckoner]:
        with ExitStack() as held:
            try:
                held.enter_context(exclusive(self._folder / "rollup.lock", within_s=ROLLUP_WAIT_S))
            except BlockingIOError as error:
                msg = f"another rollup ({error}) is at work on {self._path}; try again when it is done"
                raise AnotherRollup(msg, retry_after_s=ROLLUP_WAIT_S) from error
            held.enter_context(damage_as_error(self._path))
            if self._kept_reckoner is None:
                self._kept_reckoner = Reckoner(self._path, self._folder, self._hold_ms)
            try:
                held.enter_context(Trickle(self._path))
                self._kept_reckoner.refresh()
                yield self._kept_reckoner
            except BaseException:
                self._drop_reckoner()
                raise

    def _drop_reckoner(self) -> None:
        reckoner, self._kept_reckoner = self._kept_reckoner, None
        if reckoner is not None:
            reckoner.close()

    def figures(
        self,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of the fleet or of one product; see ``Store.figures``."""
        with self._reading(patience) as connection:
            packed = connection.execute(
                _PACKED_SUMS,
                (product_id or "", first_slot or 0, _LAST_SLOT if end_slot is None else end_slot),
            ).get
            table = np.frombuffer(packed or b"", ">i8").reshape(-1, 8).T.astype(np.int64)
            # SQLite does not promise the order in which it joins the rows, though it is that of the key.
            return Figures.of_table(table[:, np.argsort(table[0], kind="stable")], setting(connection, "as_of_ms"))

    def device_figures(
        self,
        device_id: str,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of one device, reckoned from its own readings; see ``Store.device_figures``."""
        while True:
            figures, from_ms = self._device_figures(device_id, (first_slot, end_slot), product_id, patience)
            if from_ms == self._kept_from_ms():
                return figures
            # Days were removed while we read: some may have been missed, and what stands in for them was not yet there.

    def _device_figures(
        self, device_id: str, asked: tuple[int | None, int | None], product_id: str | None, patience: Patience | None
    ) -> tuple[Figures, int]:
        """The figures, and from which instant on the readings were kept when they were begun."""
        with ExitStack() as opened:
            connection = opened.enter_context(self._reading(patience))
            as_of_ms = setting(connection, "as_of_ms")
            one = "SELECT id, first_ms, last_ms, power_ms, temperature_ms FROM device WHERE name = ?"
            found = select(connection, one, device_id)
            products: dict[str, int] = dict(select(connection, "SELECT name, id FROM product"))
            if not found or (product_id is not None and product_id not in products):
                return Figures.of_table(np.empty((8, 0), np.int64), as_of_ms), self._kept_from_ms()
            life = Life(*found[0])
            store = setting(connection, "store")
            carried = opened.enter_context(closing(Carried(self._folder, store=store)))
            from_ms = carried.from_ms()
            days = opened.enter_context(closing(DayFiles(self._folder, store=store, writable=False)))
            earliest_slot = max(slot_of(life.first_ms), slot_of(from_ms + DAY_MS) if from_ms else 0)
            figures = reckon_device(
                History(days, Runs(connection), carried, patience),
                life,
                slots=(
                    max(asked[0] or 0, earliest_slot),
                    min(slot_of(as_of_ms) + SLOTS_PER_HOUR, _LAST_SLOT if asked[1] is None else asked[1]),
                ),
                product=None if product_id is None else products[product_id],
                product_names={number: name for name, number in products.items()},
                hold_ms=self._hold_ms,
                as_of_ms=as_of_ms,
            )
            return figures, from_ms

    def device(self, device_id: str) -> DeviceState | None:
        """One device's state; see ``Store.device``."""
        with self._reading() as connection:
            return devices.device(connection, device_id)

    def devices(self, wanted: DeviceFilter, *, now_ms: int, position: int = 0, limit: int = 100) -> DevicePage:
        """Some devices that fit a filter; see ``Store.devices``."""
        known_after_ms = now_ms - self._hold_ms
        with self._reading() as connection:
            return devices.devices(connection, wanted, known_after_ms=known_after_ms, position=position, limit=limit)

    def products(self, device_ids: Sequence[str]) -> dict[str, str]:
        """What devices were last heard as; see ``Store.products``."""
        with self._reading() as connection:
            return devices.products(connection, device_ids)

    def status(self, now_ms: int) -> StoreStatus:
        """How far the figures have come; see ``Store.status``."""
        with self._reading() as connection:
            reckoned_seq, as_of_ms = setting(connection, "reckoned_seq"), setting(connection, "as_of_ms")
            devices = connection.execute("SELECT ifnull(max(id), 0) FROM device_name").get
        waiting_since_ms = JournalReader(self._folder).oldest_after(reckoned_seq)
        lag_ms = 0 if waiting_since_ms is None else max(0, now_ms - waiting_since_ms)
        return StoreStatus(as_of_ms, lag_ms, int(devices), self._kept_from_ms())

    def check(self) -> None:
        """See ``Store.check``."""
        with self._reading() as connection:
            expect_hold(connection, self._hold_ms)

    def close(self) -> None:
        """Let go of files and locks."""
        self._drop_reckoner()
        self._closing.close()
        with suppress(Empty):
            while True:
                self._readers.get_nowait().close()

    def _another_reader(self) -> apsw.Connection:
        try:
            return open_database(self._path, "main", writable=False)
        except SetupError as error:  # it was there when the store was opened
            raise StoreUnavailable(str(error), retry_after_s=5) from error

    def _kept_from_ms(self) -> int:
        with (
            self._reading() as connection,
            closing(Carried(self._folder, store=setting(connection, "store"))) as carried,
        ):
            return carried.from_ms()

    @contextmanager
    def _reading(self, patience: Patience | None = None) -> Iterator[apsw.Connection]:
        """A connection that sees one state of the main file throughout; connections are kept for the next reader."""
        with unavailable_as_error(self._path), damage_as_error(self._path):
            try:
                connection = self._readers.get_nowait()
            except Empty:
                connection = self._another_reader()
            try:
                connection.set_progress_handler(patience, _LOOK_STEPS)
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # whatever befell it, the next reader gets a fresh one
                raise
            self._readers.put(connection)
