"""The tables, and how they are brought to the newest version: ``schema/NNN.sql``, each once and in order."""

from functools import cache
from importlib import resources

from heatfleet.errors import SetupError
from heatfleet.storage.postgresql.connect import Database, Tx

# Servers that start at once take turns; the words stand for a number of our own.
TURN = "SELECT pg_advisory_xact_lock(hashtext('heatfleet'), hashtext('schema'))"

# Not to_regclass: what a session did not find a moment ago it remembers, and we have waited for others to make it.
IS_THERE = """SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'heatfleet_schema'
    AND relnamespace = ANY (current_schemas(false)::regnamespace[]))"""


def open_database(url: str, *, writable: bool) -> Database:
    """A database with tables of the newest version; with ``writable`` they are made or brought up to date.

    Raises ``SetupError`` for an URL that is none, and for tables that are missing, older (where they may not be
    changed) or newer; ``StoreUnavailable`` when PostgreSQL does not let us.
    """
    database = Database(url, writable=writable)
    try:
        with database.connection() as connection:
            if _version(connection, database.where) < newest_version():
                _migrate(connection, database)
    except BaseException:
        database.close()
        raise
    return database


def newest_version() -> int:
    """The newest version of the tables."""
    return len(_scripts())


def _migrate(connection: Tx, database: Database) -> None:
    if not database.writable:
        msg = f"{database.where} has no tables of this version: `heatfleet db init` or a started server makes them"
        raise SetupError(msg)
    with connection.transaction():
        connection.execute(TURN)
        # Another server may have been faster while we waited for our turn.
        for number in range(_version(connection, database.where), newest_version()):
            connection.execute(_scripts()[number].encode())
            connection.execute("UPDATE heatfleet_schema SET version = %s", [number + 1])


def _version(connection: Tx, where: str) -> int:
    """The version of the tables, 0 if there are none; ``SetupError`` for one from the future."""
    [is_there] = connection.execute(IS_THERE).fetchone() or (False,)
    if not is_there:
        return 0
    [version] = connection.execute("SELECT max(version) FROM heatfleet_schema").fetchone() or (0,)
    if version > newest_version():
        msg = f"{where} has tables of version {version}, this Heatfleet knows {newest_version()}: use a newer Heatfleet"
        raise SetupError(msg)
    return int(version)


@cache
def _scripts() -> list[str]:
    folder = resources.files("heatfleet.storage.postgresql") / "schema"
    found = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [entry.read_text(encoding="utf-8") for entry in found if entry.name.endswith(".sql")]
