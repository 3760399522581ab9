"""Connections to PostgreSQL: opened when needed, kept while they are good, and with an end to every wait."""

import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any, TypeVar

import psycopg
from psycopg import Connection as PgConnection
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from heatfleet.errors import SetupError, StorageFull, StoreUnavailable

CONNECT_S = 5
STATEMENT_S = 5
"""How long PostgreSQL may work at one statement, waits for locks included."""
ANSWER_S = 10.0
"""How long we wait for its answer: longer than it may work, so a server that says nothing hangs."""
STILL_S = 5
"""How long a server may stand still in the midst of a transaction: the orders of all others wait for its locks."""
AWAY_S = 1.0
"""For so long after it could not be reached nobody tries: callers would wait for it, one after the other."""
CONNECTIONS_MAX = 8

_SHAPE = "HEATFLEET_DB: write postgresql://user@host:port/database; what is special in a name or password is %-encoded"
# Who vanished without a word is noticed within half a minute, also while nothing is sent. _SESSION asks the same of
# PostgreSQL, which holds the locks of a server until it knows that it is gone.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "heatfleet",
    "client_encoding": "UTF8",
}
_SESSION = f"""SET statement_timeout = '{STATEMENT_S}s'; SET lock_timeout = '{STATEMENT_S - 1}s';
SET idle_in_transaction_session_timeout = '{STILL_S}s'; SET default_transaction_isolation = 'read committed';
SET tcp_keepalives_idle = '10s'; SET tcp_keepalives_interval = '5s'; SET tcp_keepalives_count = 3"""
# What is answered for must survive a crash, whatever the database is set to; all other values wait for its disk.
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
_WHAT_TO_DO = {
    "25006": "it only reads (a standby, or default_transaction_read_only): name the primary, or add "
    "target_session_attrs=read-write to HEATFLEET_DB",
    "42501": "this user may not do that: make it the owner of the tables, or grant it what the documentation lists",
    "42P01": "a table is missing: `heatfleet db init` makes what is missing, or restore it from a backup",
    "40P01": "two servers stood in each other's way; try again",
    "53300": "it has no connection left: raise its max_connections",
    "55P03": f"another transaction holds what is needed for more than {STATEMENT_S - 1} s; it should let go by itself",
    "57014": f"it did not finish a statement within {STATEMENT_S} s",
    "57P01": "it is restarting",
    "57P02": "it is restarting after a crash",
    "57P03": "it is starting",
}
_FULL = "53100"

Row = TypeVar("Row")
Tx = PgConnection[tuple[Any, ...]]
"""A connection that somebody has for a while."""


class _Impatient(PgConnection[Row]):
    """A connection that is closed when an answer does not come: what was asked may still come to its end over there."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for what was asked, at most ``ANSWER_S``."""
        try:
            return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            raise psycopg.OperationalError(f"it gave no answer within {ANSWER_S:g} s") from error


class Database:
    """One database, over as many connections as are used at a time. Any thread may call.

    It heals by itself: a connection that PostgreSQL has ended is not used again, and the next one finds it restarted.
    """

    def __init__(self, url: str, *, writable: bool) -> None:
        """Nothing is opened yet; ``SetupError`` for an URL that is none."""
        given = _parts(url)
        self.where = _where(given)
        self.writable = writable
        self._conninfo = make_conninfo(**(_DEFAULTS | given))
        self._idle: deque[Tx] = deque()
        self._room = BoundedSemaphore(CONNECTIONS_MAX)
        self._away = ""
        self._away_until_s = 0.0
        self._open = True

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """All or nothing: committed, and on disk, when the block ends; ``StoreUnavailable`` otherwise."""
        with self.connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Tx]:
        """A connection on which each statement is a transaction of its own."""
        if not self._room.acquire(timeout=ANSWER_S):
            raise StoreUnavailable(f"{self.where}: all connections are in use; try again")
        try:
            with self._unavailable_as_error():
                connection = self._take()
                try:
                    yield connection
                finally:
                    self._give_back(connection)
        finally:
            self._room.release()

    def connect(self) -> Tx:
        """A new connection, which is the caller's to close; ``StoreUnavailable`` if there is none to be had.

        It is called inside ``connection``, which translates what goes wrong afterwards.
        """
        if time.monotonic() < self._away_until_s:
            raise StoreUnavailable(self._away)
        try:
            connection = _Impatient[tuple[Any, ...]].connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            reason = _reason(error)
            self._away = f"{self.where} cannot be reached: {reason}; see to it that it runs, and check HEATFLEET_DB"
            self._away_until_s = time.monotonic() + AWAY_S
            raise StoreUnavailable(self._away) from None  # what is behind it may show the whole address
        try:
            connection.execute(_SESSION)
            connection.execute(_DURABLE if self.writable else "SET default_transaction_read_only = on")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close all connections that are not in use, and the others when they no longer are."""
        self._open = False
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Tx:
        while self._idle:
            connection = self._idle.pop()
            if is_good(connection):
                return connection
            connection.close()
        return self.connect()

    def _give_back(self, connection: Tx) -> None:
        if self._open and not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def _unavailable_as_error(self) -> Iterator[None]:
        """Say PostgreSQL's troubles as ``StoreUnavailable``, with the place and what to do."""
        try:
            yield
        except psycopg.Error as error:
            code = error.sqlstate or ""
            said = error.diag.message_primary or _reason(error)
            if code == _FULL:
                raise StorageFull(f"{self.where}: its disk is full; free some space", retry_after_s=5) from error
            raise StoreUnavailable(f"{self.where}: {_WHAT_TO_DO.get(code, said)}", retry_after_s=2) from error


def _reason(error: psycopg.Error) -> str:
    """The last thing that was said, without the hints below it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(lines[-1].removeprefix("connection failed: ").split()) if lines else type(error).__name__


def is_good(connection: Tx) -> bool:
    """Whether an idle connection may be used: nothing has come over it, as an end or a word of farewell would."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _parts(url: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # its words repeat what was given, which may be the password
        raise SetupError(_SHAPE) from None
    if not given.get("dbname") or not url.startswith("postgresql://") or _is_torn(url, given):
        raise SetupError(_SHAPE)
    return given


def _is_torn(url: str, given: dict[str, Any]) -> bool:
    """Whether a password that is not %-encoded was cut at ``/`` or ``@``: a piece of it would be shown to people."""
    hosts, ports = (str(given.get(name) or "").split(",") for name in ("host", "port"))
    return (
        "@" in url.partition("?")[0].removeprefix("postgresql://").partition("/")[2]
        or any("@" in host[1:] for host in hosts)  # a socket's name may begin with it
        or any(port and not port.isdecimal() for port in ports)
    )


def _where(given: dict[str, Any]) -> str:
    """Host, port and database, for people."""
    hosts, ports = str(given.get("host") or "").split(","), str(given.get("port") or "").split(",")
    places = [
        f"{host or 'the local socket'}{f':{port}' if port else ''}"
        for host, port in zip(hosts, ports * len(hosts), strict=False)
    ]
    return f"PostgreSQL at {' or '.join(places)}, database {given['dbname']}"
