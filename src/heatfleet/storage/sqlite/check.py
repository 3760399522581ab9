"""Whether the files of a store are sound: each by itself, and all of them beside the main file.

They are looked at beside a running server, one after the other; whatever is told of two files is told so that it holds
however far server and rollup have come between the two.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import NamedTuple

import apsw

from heatfleet.domain.messages import POWER, TEMPERATURE, VALUE_RANGES
from heatfleet.domain.slots import DAY_MS, HOUR_MS, SLOT_MS, SLOTS_PER_DAY
from heatfleet.errors import HeatfleetError
from heatfleet.storage.base import FileCheck
from heatfleet.storage.block import unpack
from heatfleet.storage.sqlite import carried, runs
from heatfleet.storage.sqlite.archive import Archive
from heatfleet.storage.sqlite.connect import UNREADABLE, newest_version, open_database, select, unavailable_as_error
from heatfleet.storage.sqlite.files import ARCHIVE, DAY, FOREIGN, MAIN, StoreFile, folder_of, store_files
from heatfleet.storage.sqlite.keys import DEVICE_SHIFT
from heatfleet.storage.sqlite.lost_commits import lost_commits
from heatfleet.storage.sqlite.main_file import setting

RESTORE = "stop the server and restore the store from a backup"
BROKEN = (HeatfleetError, apsw.Error, *UNREADABLE)
"""What reading a damaged file may raise."""
_COMPLAINTS_MAX = 3
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_IS_NONE = (
    f"typeof(v) != 'real' OR typeof(p) != 'integer' OR (k >> 1 & {(1 << (DEVICE_SHIFT - 1)) - 1}) >= {HOUR_MS}"
    " OR v NOT BETWEEN"
    f" CASE k & 1 WHEN {POWER} THEN {VALUE_RANGES[POWER][0]} ELSE {VALUE_RANGES[TEMPERATURE][0]} END AND"
    f" CASE k & 1 WHEN {POWER} THEN {VALUE_RANGES[POWER][1]} ELSE {VALUE_RANGES[TEMPERATURE][1]} END"
)
_HOUR = f"SELECT coalesce(sum({_IS_NONE}), 0), min(k), max(k), max(p) FROM h{{:02}}"  # noqa: S608 - constants


class _Facts(NamedTuple):
    """What the main file says now: its numbers, and the days of which it has figures or runs."""

    store: int
    mark: int
    devices: int
    products: int
    days: set[int]
    run_days: set[int]


class Checker:
    """Looks at one store. With ``quick`` only at the structure of the files, not at each reading and index."""

    def __init__(self, path: str, *, quick: bool, ledger: bool = True) -> None:
        """Without ``ledger`` orders and keys are kept elsewhere, and their file need not be there."""
        self._main = Path(path).absolute()
        self._quick = quick
        self._expects_ledger = ledger
        self._rows: list[tuple[int, int]] = []
        self._looks: dict[str, Callable[[apsw.Connection, Path], Iterator[str]]] = {
            MAIN: self._wrong_in_main,
            DAY: self._wrong_in_day,
            "journal": self._wrong_in_journal,
            "carried": self._wrong_in_carried,
        }

    def files(self) -> Iterator[FileCheck]:
        """Each file, and what is missing; ``SetupError`` if there is no store at all."""
        open_database(self._main, MAIN, writable=False, any_version=True).close()
        before = self._facts()
        for file in store_files(self._main):
            check = self._look_at(file)
            if check.sound or file.path.exists():  # the rollup may have done with it meanwhile
                yield check
        after = self._facts()
        if before and after:
            yield from self._missing_rows(before.mark, after.mark)
            yield from self._missing_files(before)

    def _look_at(self, file: StoreFile) -> FileCheck:
        name = str(file.path.relative_to(self._main.parent))
        if file.kind == FOREIGN:
            return FileCheck(name, sound=True, found="none of the store's, not looked at")
        try:
            size_bytes = file.path.stat().st_size
            with unavailable_as_error(file.path):
                wrong = list(self._wrong_in_archive(file.path) if file.kind == ARCHIVE else self._wrong_in(file))
        except (*BROKEN, OSError) as error:
            wrong = [f"cannot be read: {error}"]
        if wrong:
            more = f" … and {len(wrong) - _COMPLAINTS_MAX} more" if len(wrong) > _COMPLAINTS_MAX else ""
            return FileCheck(name, sound=False, found="; ".join(wrong[:_COMPLAINTS_MAX]) + more, fix=RESTORE)
        return FileCheck(name, sound=True, found=f"{size_bytes:,} bytes")

    def _wrong_in(self, file: StoreFile) -> Iterator[str]:
        with closing(open_database(file.path, file.kind, writable=False, any_version=True)) as connection:
            select(connection, "SELECT count(*) FROM sqlite_schema")  # looks for the log, and makes out how far it goes
            if lost := lost_commits(connection, file.path):
                yield f"{lost} commits in its -wal file are lost to SQLite, by damage or by a power cut in their midst"
            connection.execute("BEGIN")
            damaged = False
            for (line,) in select(connection, f"PRAGMA {'quick' if self._quick else 'integrity'}_check(10)"):
                if line != "ok":
                    damaged = True
                    yield line.replace("\n", " ")
            if not damaged and connection.pragma("user_version") == newest_version(file.kind):
                yield from self._looks.get(file.kind, _nothing_more)(connection, file.path)

    def _wrong_in_main(self, connection: apsw.Connection, _: Path) -> Iterator[str]:
        odd = "SELECT count(*) FROM run WHERE length(body) != readings * ?"
        if count := connection.execute(odd, (runs.ROW_BYTES,)).get:
            yield f"{count} runs of readings have another size than they tell"
        if not self._quick:
            for (packed,) in connection.execute("SELECT devices FROM heard"):
                zlib.decompress(packed)

    def _wrong_in_day(self, connection: apsw.Connection, path: Path) -> Iterator[str]:
        start_ms, store = connection.execute("SELECT start_ms, store FROM day").get
        day = date.fromisoformat(path.stem.partition("-")[2]).toordinal() - _EPOCH_ORDINAL
        if start_ms != day * DAY_MS:
            yield "it is the file of another day"
        if self._quick:
            return
        last_device = last_product = 0
        for hour in range(24):
            odd, first, last, product = connection.execute(_HOUR.format(hour)).get
            if odd or (first is not None and first < 0):
                yield f"{odd or 'some'} readings of hour {hour} cannot be"
            last_device, last_product = max(last_device, (last or 0) >> DEVICE_SHIFT), max(last_product, product or 0)
        yield from self._foreign_numbers(store, last_device, last_product)

    def _foreign_numbers(self, store: int, device: int, product: int) -> Iterator[str]:
        facts = self._facts()  # now: it is told of a device before anything of the device is put in place
        if facts and store != facts.store:
            yield "it belongs to another store than the main file"
        elif facts and (device > facts.devices or product > facts.products):
            yield "it has readings of devices or products that the main file does not know"

    def _wrong_in_journal(self, connection: apsw.Connection, path: Path) -> Iterator[str]:
        first = int(path.stem.removeprefix("journal-"))
        following = first
        for seq, count, body in connection.execute("SELECT seq, readings, body FROM journal ORDER BY seq"):
            if seq != following:
                yield f"row {seq} stands where row {following} belongs"
            if not self._quick and len(unpack(body).code) != count:
                yield f"row {seq} has another number of readings than it tells"
            following = seq + 1
        self._rows.append((first, following - 1))

    def _wrong_in_carried(self, connection: apsw.Connection, _: Path) -> Iterator[str]:
        odd = "SELECT count(*) FROM carried WHERE length(body) % ? != 0"
        if connection.execute(odd, (carried.ROW_BYTES,)).get:
            yield "carried readings are cut off"
        yield from self._foreign_numbers(connection.execute("SELECT store FROM kept").get, 0, 0)

    def _wrong_in_archive(self, path: Path) -> Iterator[str]:
        with closing(Archive(path)) as archive:
            for number in range(0 if self._quick else archive.groups):
                group = archive.group(number)
                least, most = (
                    [VALUE_RANGES[code][end] for code in (POWER, TEMPERATURE)] for end in (0, 1)
                )  # by code, which is 0 or 1
                odd = sum(
                    int((~((group.value >= least[code]) & (group.value <= most[code])) & (group.code == code)).sum())
                    for code in (POWER, TEMPERATURE)
                )
                if odd:
                    yield f"{odd} readings cannot be"
            yield from self._foreign_numbers(archive.store, archive.last_device, 0)

    def _missing_rows(self, mark_before: int, mark_after: int) -> Iterator[FileCheck]:
        """Rows of the journal that no figure counts and no file has."""
        reached = mark_after
        last = 0
        for first, end in sorted(self._rows):
            if first > reached + 1:
                yield _missing("journal", f"rows {reached + 1} to {first - 1}, which no figure counts")
            reached, last = max(reached, end), max(last, end)
        if last < mark_before:
            yield _missing("journal", f"it ends at row {last}, while figures count up to row {mark_before}")

    def _missing_files(self, before: _Facts) -> Iterator[FileCheck]:
        kinds: dict[str, set[str]] = {}
        for file in store_files(self._main):
            kinds.setdefault(file.kind, set()).add(file.path.stem.partition("-")[2])
        there = {
            date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL
            for kind in (DAY, ARCHIVE)
            for text in kinds.get(kind, ())
        }
        kept_day = self._kept_day()
        for day in sorted(before.days - before.run_days - there):
            if day >= kept_day:
                text = f"readings-{date.fromordinal(_EPOCH_ORDINAL + day)}.db"
                yield _missing(f"{folder_of(self._main).name}/{text}", "there are figures of this day, but no readings")
        if "ledger" not in kinds and self._expects_ledger:
            lost = "orders, API keys and the audit trail; a server begins new ones"
            yield _missing(f"{folder_of(self._main).name}/ledger.db", lost)

    def _kept_day(self) -> int:
        try:
            with closing(carried.Carried(folder_of(self._main), store=self._expect_facts().store)) as kept:
                return kept.from_ms() // DAY_MS
        except BROKEN:
            return 0  # which is told of that file already

    def _expect_facts(self) -> _Facts:
        if (facts := self._facts()) is None:
            raise LookupError
        return facts

    def _facts(self) -> _Facts | None:
        """What the main file says; ``None`` if it is too old or too damaged to say it."""
        try:
            with closing(open_database(self._main, MAIN, writable=False)) as connection:
                connection.execute("BEGIN")
                # A device is believed for the hold, so what is known later in a day was said on that day.
                of_days = (
                    f"SELECT DISTINCT slot / {SLOTS_PER_DAY} FROM slot_sum WHERE product = 0 AND"  # noqa: S608 - a number
                    f" (known_ms > 0 OR temperature_known_ms > 0) AND slot % {SLOTS_PER_DAY} * {SLOT_MS} >= ?"
                )
                return _Facts(
                    setting(connection, "store"),
                    setting(connection, "reckoned_seq"),
                    connection.execute("SELECT ifnull(max(id), 0) FROM device_name").get,
                    connection.execute("SELECT ifnull(max(id), 0) FROM product").get,
                    {day for (day,) in select(connection, of_days, setting(connection, "hold_ms"))},
                    {day for (day,) in select(connection, "SELECT DISTINCT hour / 24 FROM run")},
                )
        except BROKEN:
            return None


def _nothing_more(_connection: apsw.Connection, _path: Path) -> Iterator[str]:
    return iter(())


def _missing(name: str, what: str) -> FileCheck:
    return FileCheck(name, sound=False, found=f"missing: {what}", fix=RESTORE)
