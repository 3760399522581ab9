"""Looking at the database from outside: is it there, is it ours, and does it keep what it says it keeps."""

from contextlib import closing

from heatfleet.storage.base import FileCheck
from heatfleet.storage.postgresql.schema import newest_version, open_database

LOOK = """SELECT current_setting('server_version'), current_setting('fsync') = 'on',
    current_setting('full_page_writes') = 'on', pg_is_in_recovery(),
    (SELECT count(*) FROM living_owner)"""


def look(url: str) -> FileCheck:
    """What there is to say of the database as a whole; of its pages PostgreSQL's own tools tell.

    Raises ``SetupError`` and ``StoreUnavailable`` as opening a ledger does.
    """
    with closing(open_database(url, writable=False)) as database:
        with database.connection() as connection:
            [(version, syncs, whole_pages, is_standby, ledgers)] = connection.execute(LOOK).fetchall()
        found = f"PostgreSQL {version.split()[0]}, tables of version {newest_version()}, open in {ledgers} servers"
        fix = ""
        if not syncs or not whole_pages:
            found += "; it does not survive a power cut"
            fix = "set fsync and full_page_writes to on in postgresql.conf"
        elif is_standby:
            found += "; it is a standby, which only reads"
            fix = "name the primary in HEATFLEET_DB"
        return FileCheck(database.where, sound=not fix, found=f"{found}; of its pages pg_amcheck tells", fix=fix)
