"""The main file, before a server appends or a rollup reckons."""

from pathlib import Path

from heatfleet.storage.base import Ages
from heatfleet.storage.sqlite.archive import arrow
from heatfleet.storage.sqlite.connect import open_database, unavailable_as_error
from heatfleet.storage.sqlite.reckoner import expect_hold, set_number, setting


def make_main_file(path: Path, hold_ms: int, ages: Ages | None) -> int:
    """Make or migrate the main file; gives the number that all files of this store share.

    Raises ``SetupError`` if its figures were reckoned with another hold, or what archives need is not installed.
    """
    if ages and ages.archive_after_days:
        arrow()
    connection = open_database(path, "main", writable=True)
    try:
        with unavailable_as_error(path):
            connection.execute("INSERT OR IGNORE INTO setting VALUES ('hold_ms', ?)", (hold_ms,))
            expect_hold(connection, hold_ms)
            for name, days in (ages._asdict() if ages else {}).items():
                if setting(connection, name) != days:
                    set_number(connection, name, days)
            return setting(connection, "store")
    finally:
        connection.close()
