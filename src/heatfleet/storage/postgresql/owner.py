"""Which of the open ledgers this one is, so that others can tell orders under way from those of a dead server.

Each has a number, and holds a lock on it over a connection of its own. PostgreSQL lets go of the lock when the process
ends, however it ends; the view ``living_owner`` shows who holds one.
"""

from contextlib import suppress
from threading import Lock

import psycopg

from heatfleet.storage.postgresql.connect import Database, Tx, is_good

NEW = "SELECT nextval('ledger_owner')"

HOLD = "SELECT pg_try_advisory_lock(('command'::regclass::oid::bigint << 32) + %s)"


class Owner:
    """A number among the open ledgers, held as long as PostgreSQL is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = Lock()
        self._held: Tx | None = None
        self.number = 0

    def hold(self) -> int:
        """The number, on which a lock is held: taken anew if the connection was lost. Costs nothing otherwise."""
        with self._turn:
            if self._held is None or not is_good(self._held):
                self._let_go()
                self._take()
            return self.number

    def close(self) -> None:
        """Let go of the lock: what is still only accepted may be settled by others from now on."""
        with self._turn:
            if self._held is not None:
                with suppress(psycopg.Error):  # by the end of the connection at the latest
                    self._held.execute("SELECT pg_advisory_unlock_all()")
            self._let_go()

    def _take(self) -> None:
        with self._database.connection() as asked:
            connection = self._database.connect()
            try:
                # After a lost connection the old number again, as orders may be under way with it; unless PostgreSQL
                # has not noticed yet and holds the lock for the connection that is gone.
                while not (self.number and connection.execute(HOLD, [self.number]).fetchone() == (True,)):
                    [self.number] = asked.execute(NEW).fetchone() or (0,)
            except BaseException:
                connection.close()
                raise
        self._held = connection

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
