"""The main file, before a server appends or a rollup reckons, and the numbers that it remembers."""

from pathlib import Path

import apsw

from heatfleet.errors import SetupError
from heatfleet.storage.base import Ages
from heatfleet.storage.sqlite.archive import arrow
from heatfleet.storage.sqlite.connect import open_database, unavailable_as_error


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


def setting(connection: apsw.Connection, name: str) -> int:
    """One of the numbers the main file remembers, 0 before it was set."""
    value = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).get
    return int(value or 0)


def set_number(connection: apsw.Connection, name: str, value: int) -> None:
    """Remember a number in the main file."""
    connection.execute("INSERT INTO setting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", (name, value))


def expect_hold(connection: apsw.Connection, hold_ms: int) -> None:
    """Raise ``SetupError`` if the figures of this main file were reckoned with another hold."""
    reckoned_with_ms = setting(connection, "hold_ms")
    if reckoned_with_ms != hold_ms:
        msg = (
            f"HEATFLEET_MAX_HOLD_S is {hold_ms / 1000:g}, but the figures here stand for {reckoned_with_ms / 1000:g};"
            " set it back, or run `heatfleet rollup --rebuild` to reckon them all anew"
        )
        raise SetupError(msg)
