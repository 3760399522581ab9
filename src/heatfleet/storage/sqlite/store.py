"""The SQLite store: a main file with figures and devices, and beside it a folder ``<name>.d`` with all that is large.

Every file has one writer: the journal belongs to the server, everything else to the rollup, which is most often a
process of its own. Reading never waits for either.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, LifoQueue

import apsw
import numpy as np

from heatfleet.domain.messages import Reading
from heatfleet.domain.slots import SLOT_MS, SLOTS_PER_HOUR, slot_of
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.base import DeviceFilter, DevicePage, DeviceState, Figures, Rollup, StoreStatus
from heatfleet.storage.sqlite.connect import (
    exclusive,
    open_database,
    select,
    take_lock,
    unavailable_as_error,
    unfit_as_error,
)
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.device_figures import reckon_device
from heatfleet.storage.sqlite.history import History
from heatfleet.storage.sqlite.journal import JournalReader, JournalWriter
from heatfleet.storage.sqlite.reckoner import Reckoner, expect_hold, setting
from heatfleet.storage.sqlite.runs import Runs

ROLLUP_WAIT_S = 30
_LAST_SLOT = (1 << 62) // SLOT_MS
_STATE = "name, p.name, power_w, power_ms, temperature_c, temperature_ms, last_ms"


class SqliteStore:
    """``storage.base.Store`` on SQLite files."""

    def __init__(self, path: str, *, hold_ms: int, writable: bool) -> None:
        """Open the store; with ``writable`` make or migrate it, and take the one place of the server that appends.

        Raises ``SetupError`` if another server has that place, or the figures were reckoned with another hold.
        """
        self._path = Path(path).absolute()
        self._folder = self._path.with_name(f"{self._path.name}.d")
        self._hold_ms = hold_ms
        self._readers: LifoQueue[apsw.Connection] = LifoQueue()
        self._closing = ExitStack()
        self._writer: JournalWriter | None = None
        self._kept_reckoner: Reckoner | None = None  # loading the state of two million devices takes seconds
        if writable:
            self._become_the_server()
        else:
            self._readers.put(open_database(self._path, "main", writable=False))

    def _become_the_server(self) -> None:
        with unavailable_as_error(self._folder), unfit_as_error(self._folder):
            try:
                self._closing.enter_context(take_lock(self._folder / "server.lock"))
            except BlockingIOError as error:
                msg = f"another server ({error}) already writes to {self._path}; stop it, or choose another store"
                raise SetupError(msg) from error
        with ExitStack() as undo:
            undo.push(self._closing)
            store = make_main_file(self._path, self._hold_ms)
            days = DayFiles(self._folder, store=store, writable=True)
            try:
                days.check()
            finally:
                days.close()
            with self._reading() as connection:
                reckoned_seq = setting(connection, "reckoned_seq")
            self._writer = JournalWriter(self._folder, after=reckoned_seq)
            self._closing.callback(self._writer.close)
            undo.pop_all()

    def append(self, readings: Sequence[Reading], received_ms: int) -> None:
        """Make readings durable; see ``Store.append``."""
        if self._writer is None:
            msg = f"{self._path} was opened for reading only"
            raise SetupError(msg)
        if readings:
            self._writer.append(readings, received_ms)

    def rollup(self, now_ms: int) -> Rollup:
        """Bring the figures up to date; see ``Store.rollup``."""
        started_s = time.monotonic()
        readings = late = 0
        with self._reckoner() as reckoner:
            for taken, taken_late in reckoner.rollup(now_ms):
                readings, late = readings + taken, late + taken_late
        return Rollup(now_ms, readings, late, time.monotonic() - started_s)

    def rebuild(self, now_ms: int) -> Rollup:
        """Make all figures again, then take what the journal holds; see ``Store.rebuild``."""
        started_s = time.monotonic()
        with self._reckoner() as reckoner:
            readings = reckoner.rebuild(now_ms)
            readings += sum(taken for taken, _ in reckoner.rollup(now_ms))
        return Rollup(now_ms, readings, 0, time.monotonic() - started_s)

    @contextmanager
    def _reckoner(self) -> Iterator[Reckoner]:
        deadline_s = time.monotonic() + ROLLUP_WAIT_S
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(exclusive(self._folder / "rollup.lock"))
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline_s:
                        msg = f"another rollup ({error}) is at work on {self._path}; try again when it is done"
                        raise StoreUnavailable(msg, retry_after_s=ROLLUP_WAIT_S) from error
                    time.sleep(0.05)
            if self._kept_reckoner is None:
                self._kept_reckoner = Reckoner(self._path, self._folder, self._hold_ms)
            try:
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
    ) -> Figures:
        """Figures of the fleet or of one product; see ``Store.figures``."""
        with self._reading() as connection:
            rows = select(
                connection,
                "SELECT slot, energy_mj, known_ms, temperature_mc_ms, temperature_known_ms, devices, devices_hour,"
                " devices_day FROM slot_sum WHERE product = (SELECT id FROM product WHERE name = ?)"
                " AND slot >= ? AND slot < ? ORDER BY slot",
                product_id or "",
                first_slot or 0,
                _LAST_SLOT if end_slot is None else end_slot,
            )
            return Figures.of_table(np.array(rows, np.int64).reshape(-1, 8).T, setting(connection, "as_of_ms"))

    def device_figures(
        self,
        device_id: str,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
    ) -> Figures:
        """Figures of one device, reckoned from its own readings; see ``Store.device_figures``."""
        with ExitStack() as opened:
            connection = opened.enter_context(self._reading())
            as_of_ms = setting(connection, "as_of_ms")
            found = select(connection, "SELECT id, first_ms, last_ms FROM device WHERE name = ?", device_id)
            products: dict[str, int] = dict(select(connection, "SELECT name, id FROM product"))
            if not found or (product_id is not None and product_id not in products):
                return Figures.of_table(np.empty((8, 0), np.int64), as_of_ms)
            device, first_ms, last_ms = found[0]
            days = DayFiles(self._folder, store=setting(connection, "store"), writable=False)
            opened.callback(days.close)
            return reckon_device(
                History(days, Runs(connection)),
                device,
                lifetime_ms=(first_ms, last_ms),
                slots=(
                    slot_of(first_ms) if first_slot is None else max(first_slot, slot_of(first_ms)),
                    min(slot_of(as_of_ms) + SLOTS_PER_HOUR, _LAST_SLOT if end_slot is None else end_slot),
                ),
                product=None if product_id is None else products[product_id],
                product_names={number: name for name, number in products.items()},
                hold_ms=self._hold_ms,
                as_of_ms=as_of_ms,
            )

    def device(self, device_id: str) -> DeviceState | None:
        """One device's state; see ``Store.device``."""
        with self._reading() as connection:
            rows = select(
                connection,
                f"SELECT d.{_STATE} FROM device d JOIN product p ON p.id = product WHERE d.name = ?",  # noqa: S608 - a constant
                device_id,
            )
        return DeviceState(*rows[0]) if rows else None

    def devices(self, wanted: DeviceFilter, *, now_ms: int, position: int = 0, limit: int = 100) -> DevicePage:
        """Some devices that fit a filter; see ``Store.devices``."""
        with self._reading() as connection:
            rows = select(
                connection,
                f"SELECT d.id, d.{_STATE} FROM device d JOIN product p ON p.id = product"  # noqa: S608 - a constant
                " WHERE d.id > ?1 AND ifnull(p.name = ?2, 1)"
                " AND ifnull((last_ms > ?3) = ?4, 1) AND ifnull((ifnull(power_w, 0) > 0) = ?5, 1)"
                " ORDER BY d.id LIMIT ?6",
                position,
                wanted.product_id,
                now_ms - self._hold_ms,
                wanted.known,
                wanted.on,
                limit + 1,
            )
        page = rows[:limit]
        return DevicePage([DeviceState(*row[1:]) for row in page], page[-1][0] if len(rows) > limit else None)

    def status(self, now_ms: int) -> StoreStatus:
        """How far the figures have come; see ``Store.status``."""
        with self._reading() as connection:
            reckoned_seq, as_of_ms = setting(connection, "reckoned_seq"), setting(connection, "as_of_ms")
            devices = connection.execute("SELECT ifnull(max(id), 0) FROM device_name").get
        waiting_since_ms = JournalReader(self._folder).oldest_after(reckoned_seq)
        lag_ms = 0 if waiting_since_ms is None else max(0, now_ms - waiting_since_ms)
        return StoreStatus(as_of_ms, lag_ms, int(devices))

    def check(self) -> None:
        """See ``Store.check``."""
        with self._reading() as connection:
            expect_hold(connection, self._hold_ms)

    def close(self) -> None:
        """Let go of files and locks."""
        self._drop_reckoner()
        self._closing.close()
        while True:
            try:
                self._readers.get_nowait().close()
            except Empty:
                return

    def _another_reader(self) -> apsw.Connection:
        try:
            return open_database(self._path, "main", writable=False)
        except SetupError as error:  # it was there when the store was opened
            raise StoreUnavailable(str(error), retry_after_s=5) from error

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A connection that sees one state of the main file throughout; connections are kept for the next reader."""
        with unavailable_as_error(self._path):
            try:
                connection = self._readers.get_nowait()
            except Empty:
                connection = self._another_reader()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # whatever befell it, the next reader gets a fresh one
                raise
            self._readers.put(connection)


def make_main_file(path: Path, hold_ms: int) -> int:
    """Make or migrate the main file; ``SetupError`` if its figures were reckoned with another hold.

    Gives the number that all files of this store share.
    """
    connection = open_database(path, "main", writable=True)
    try:
        with unavailable_as_error(path):
            connection.execute("INSERT OR IGNORE INTO setting VALUES ('hold_ms', ?)", (hold_ms,))
            expect_hold(connection, hold_ms)
            return setting(connection, "store")
    finally:
        connection.close()
