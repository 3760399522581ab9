"""Opening SQLite files: settings that are read back, schema versions, and errors in our own words."""

import fcntl
import os
import shutil
import struct
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import apsw

from heatfleet.errors import ReportTooSlow, SetupError, StorageFull, StoreUnavailable

BUSY_TIMEOUT_MS = 5_000
PAGE_BYTES = 8_192
SQLITE_MIN = (3, 51, 3)
"""Those from 3.7.0 on before it can damage a file that two connections write or checkpoint: https://sqlite.org/wal.html."""
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, struct.error, zlib.error)
"""What Python and NumPy raise over damaged data."""
_LOOK_S = 0.02
"""How often somebody who waits for a lock looks whether it is free."""
APPLICATION_ID = int.from_bytes(b"HEAT")
"""Stands in the header of our files: https://www.sqlite.org/pragma.html#pragma_application_id."""


class _NotYetMade(SetupError):
    """A file that is not there, or without a schema: its writer may be about to make it."""


Once = tuple[str, tuple[int, ...]]
"""A statement and its values, for the transaction that makes a file."""


def open_if_there(path: Path, kind: str) -> apsw.Connection | None:
    """Open a file for reading; ``None`` for one that is not there, just begun by its writer, or just deleted."""
    try:
        return open_database(path, kind, writable=False)
    except _NotYetMade:
        return None
    except (StoreUnavailable, SetupError):
        if path.exists():
            raise
        return None


def open_database(
    path: Path, kind: str, *, writable: bool, once: Once | None = None, any_version: bool = False
) -> apsw.Connection:
    """Open (and with ``writable`` create or migrate) one file of the schema family ``schema/<kind>_NNN.sql``.

    ``once`` is executed in the transaction that makes a new file. With ``any_version`` an older file, or one whose
    writer has only begun it, is opened as it is.
    Raises ``SetupError`` for a file that is missing when it may not be made, foreign, or of a newer version, and
    ``StoreUnavailable`` when the disk does not let us.
    """
    with unavailable_as_error(path), unfit_as_error(path):
        if writable:
            if trouble := sqlite_trouble():  # a server and its rollup are two
                msg = f"{trouble}; update apsw, which brings its own"
                raise SetupError(msg)
            make_folder(path.parent)
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        else:
            if not path.exists():
                msg = f"there is no database {path}; `heatfleet db init` or a started server makes one"
                raise _NotYetMade(msg)
            flags = apsw.SQLITE_OPEN_READONLY
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            scripts = _scripts(kind)
            _check_version(connection, path, len(scripts))  # first: a file that is not ours stays as it is
            if writable:
                _make_durable(connection, path)
            if not any_version:
                _migrate(connection, path, scripts, once, writable=writable)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def unfit_as_error(path: Path) -> Iterator[None]:
    """Say what trying again will not mend as ``SetupError``."""
    try:
        yield
    except (apsw.ReadOnlyError, apsw.PermissionsError, PermissionError, FileExistsError, NotADirectoryError) as error:
        msg = f"{path} cannot be written: give this user the right to, or choose another store"
        raise SetupError(msg) from error
    except apsw.NotADBError as error:
        msg = f"{path} is not a database; choose another path, or restore it from a backup"
        raise SetupError(msg) from error
    except apsw.CantOpenError as error:
        if path.is_dir():
            msg = f"{path} is a folder; name a file"
            raise SetupError(msg) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder that a power cut does not take back: SQLite syncs the files' names, not the folder's own."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until what was written to a file, or the names in a folder, are on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sqlite_version() -> str:
    """The version of the SQLite that is at work here, whatever brought it."""
    return apsw.sqlite_lib_version()


def sqlite_trouble() -> str:
    """What is wrong with this SQLite, empty if nothing is."""
    found = sqlite_version()
    if tuple(map(int, found.split("."))) >= SQLITE_MIN:
        return ""
    return f"SQLite {found} can damage a database that two processes write"


def _make_durable(connection: apsw.Connection, path: Path) -> None:
    """Write-ahead log with a sync at every commit; read back, since a file system may refuse either in silence."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    if connection.pragma("journal_mode", "wal") != "wal":
        msg = f"{path}: this file system does not allow SQLite's write-ahead log; put the store on a local disk"
        raise SetupError(msg)
    connection.pragma("synchronous", "FULL")
    full = 2
    if connection.pragma("synchronous") != full:
        msg = f"{path}: SQLite did not accept synchronous=FULL, so an answer would not mean 'on disk'"
        raise SetupError(msg)
    connection.pragma("fullfsync", 1)  # macOS: a plain fsync does not reach the platter
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)


def _check_version(connection: apsw.Connection, path: Path, known: int) -> int:
    """The schema version of a file; ``SetupError`` for one from the future or of another program."""
    version = int(connection.pragma("user_version"))
    # In this order: the file's writer may make it meanwhile, and its name is there once it is no longer empty.
    is_empty = connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get
    if connection.pragma("application_id") != APPLICATION_ID and not (version == 0 and is_empty):
        msg = f"{path} is a database of something else; choose another path"
        raise SetupError(msg)
    if version > known:
        msg = f"{path} has schema version {version}, this Heatfleet knows {known}: use a newer Heatfleet"
        raise SetupError(msg)
    return version


def _migrate(connection: apsw.Connection, path: Path, scripts: list[str], once: Once | None, *, writable: bool) -> None:
    version = connection.pragma("user_version")
    if version == len(scripts):
        return
    if not writable:
        msg = f"{path} has the older schema version {version}: `heatfleet db init` brings it up to {len(scripts)}"
        raise SetupError(msg) if version else _NotYetMade(msg)
    with transaction(connection):
        # Another process may have been faster while we waited for the lock.
        for number in range(_check_version(connection, path, len(scripts)), len(scripts)):
            connection.execute(scripts[number])
            if number == 0 and once is not None:
                connection.execute(*once)
            connection.pragma("user_version", number + 1)
            connection.pragma("application_id", APPLICATION_ID)


def newest_version(kind: str) -> int:
    """The newest schema version of a family; 0 for one that does not exist."""
    return len(_scripts(kind))


@cache
def _scripts(kind: str) -> list[str]:
    folder = resources.files("heatfleet.storage.sqlite") / "schema"
    found = sorted(
        (entry for entry in folder.iterdir() if entry.name.startswith(f"{kind}_")),
        key=lambda entry: entry.name,
    )
    return [entry.read_text(encoding="utf-8") for entry in found]


def select(connection: apsw.Connection, query: str, *values: str | float | None) -> list[Any]:
    """All rows of a query, as tuples of whatever its columns are declared to be."""
    return connection.execute(query, values).fetchall()


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """All or nothing. The write lock is taken at once: a later upgrade could fail without waiting."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def unavailable_as_error(path: Path) -> Iterator[None]:
    """Say SQLite's and the disk's troubles as ``StoreUnavailable``, with the file and what to do."""
    try:
        yield
    except apsw.BusyError as error:
        msg = f"{path}: another process holds the database; it should let go by itself"
        raise StoreUnavailable(msg) from error
    except apsw.InterruptError:
        raise ReportTooSlow("the report took too long; ask for a shorter range, or again later", 5) from None
    except (apsw.CorruptError, apsw.NotADBError) as error:
        msg = f"{path}: the file is damaged ({error}); stop the server and restore it from a backup"
        raise StoreUnavailable(msg, retry_after_s=60) from error
    except (apsw.SQLError, BlockingIOError):
        raise  # a statement SQLite cannot run is our mistake, not the disk's; a lock taken is no trouble at all
    except (apsw.Error, OSError) as error:
        if isinstance(error, apsw.FullError) or _has_no_room(path.parent):
            msg = f"{path}: the disk is full; free some space"
            raise StorageFull(msg, retry_after_s=5) from error
        msg = f"{path}: the disk or database answered '{error}'; check space, permissions and the disk itself"
        raise StoreUnavailable(msg, retry_after_s=5) from error


def _has_no_room(folder: Path) -> bool:
    """Whether a disk is full: where a file or its index cannot be made for that reason, SQLite does not say so."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < PAGE_BYTES
    return False


@contextmanager
def damage_as_error(path: Path) -> Iterator[None]:
    """Say what comes of bytes that are not what was written, and that SQLite let pass, as ``StoreUnavailable``.

    It may be a mistake of ours as well, so the words name the place.
    """
    try:
        yield
    except UNREADABLE as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} in {Path(frames[-1].filename).name}, line {frames[-1].lineno}"
        msg = (
            f"{path}: what is kept there cannot be understood ({place}); run `heatfleet db check`, and restore the"
            " store from a backup if it finds something; if it finds nothing, please report a defect"
        )
        raise StoreUnavailable(msg, retry_after_s=60) from error


@contextmanager
def exclusive(path: Path, *, within_s: float = 0) -> Iterator[None]:
    """Hold the lock file; ``BlockingIOError`` if others hold it for so long. The kernel lets go when we die."""
    give_up_s = time.monotonic() + within_s
    while True:
        try:
            with unavailable_as_error(path):
                held = take_lock(path)
            break
        except BlockingIOError:
            if time.monotonic() >= give_up_s:
                raise
            time.sleep(_LOOK_S)
    with held:
        yield


def take_lock(path: Path) -> IO[str]:
    """Lock the file until it is closed; ``BlockingIOError`` names the process that holds it already."""
    make_folder(path.parent)
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise BlockingIOError(f"process {holder}") from None
    with suppress(OSError):  # a full disk has no room for who holds it, which is said to people only
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    return file
