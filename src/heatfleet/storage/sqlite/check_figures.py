"""Whether the figures are those of the readings that are kept: made again in a copy, and compared."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw

from heatfleet.errors import SetupError
from heatfleet.storage.base import FileCheck
from heatfleet.storage.sqlite.backup import back_up
from heatfleet.storage.sqlite.check import BROKEN, RESTORE
from heatfleet.storage.sqlite.connect import open_database
from heatfleet.storage.sqlite.files import ARCHIVE, DAY, MAIN
from heatfleet.storage.sqlite.main_file import setting
from heatfleet.storage.sqlite.store import SqliteStore

_COMPARED = {
    "figures": "slot, product, energy_mj, known_ms, temperature_mc_ms, temperature_known_ms, devices, devices_hour,"
    " devices_day FROM {}.slot_sum WHERE known_ms != 0 OR temperature_known_ms != 0 OR energy_mj != 0",
    # Not `first_ms`: days that were removed may have been the first.
    "states of devices": "device, product, last_ms, power_w, power_ms, temperature_c, temperature_ms"
    " FROM {}.device_state",
}


def check_figures(path: str) -> Iterator[FileCheck]:
    """Compare figures and states with those that a rebuild makes of a copy, which needs as much room as the store."""
    main = Path(path).absolute()
    try:
        with tempfile.TemporaryDirectory(dir=main.parent, prefix=f"{main.name}.check-") as folder:
            copy = back_up(path, Path(folder) / "copy", only=(MAIN, DAY, ARCHIVE, "carried")).main
            before = copy.with_name(f"before-{copy.name}")
            shutil.copy(copy, before)
            _rebuild(copy)
            wrong = [f"{count:,} {what}" for what, count in _different(copy, before).items() if count]
    except SetupError:
        raise  # an older store is to be migrated first
    except BROKEN as error:
        yield FileCheck("figures", sound=False, found=f"cannot be made again: {error}", fix=RESTORE)
        return
    if wrong:
        found = f"not what the readings make: {' and '.join(wrong)} differ"
        fix = "run `heatfleet db check` for damaged readings; if there are none, `heatfleet rollup --rebuild`"
        yield FileCheck("figures", sound=False, found=found, fix=fix)
    else:
        yield FileCheck("figures", sound=True, found="those of the readings")


def _rebuild(main: Path) -> None:
    with closing(open_database(main, MAIN, writable=False)) as connection:
        hold_ms, as_of_ms = setting(connection, "hold_ms"), setting(connection, "as_of_ms")
    with closing(SqliteStore(str(main), hold_ms=hold_ms, writable=False)) as store:
        store.rebuild(as_of_ms)


def _different(one: Path, other: Path) -> dict[str, int]:
    """How many rows the one has that the other has not, or the other way round, whichever is more."""
    with closing(apsw.Connection(str(one), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.execute("ATTACH ? AS before", (str(other),))
        counts = {}
        for what, columns in _COMPARED.items():
            now, then = f"SELECT {columns.format('main')}", f"SELECT {columns.format('before')}"
            counts[what] = max(
                int(connection.execute(f"SELECT count(*) FROM ({a} EXCEPT {b})").get)  # noqa: S608 - constants
                for a, b in ((now, then), (then, now))
            )
        return counts
