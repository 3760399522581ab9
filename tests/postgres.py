"""A real PostgreSQL for tests: Debian's, in a temporary folder, on loopback, ended with the process that began it."""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

WAIT_S = 60
DATABASE = "heatfleet"
ROLE = "heatfleet"
GUARDED, PASSWORD = "guarded", "pass/word?1"
"""A role that needs a password; all others are trusted."""

MISSING = "PostgreSQL is not installed: tests need /usr/lib/postgresql/*/bin, which Debian's package postgresql has"

_schemas = count()


def postgres_bin() -> Path | None:
    """The folder of the newest PostgreSQL there is."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    folders = [path.parent for path in found]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


class PostgresServer:
    """A server of one's own. ``settings`` are those of postgresql.conf.

    Without ``durable`` it does not sync, which costs a test most of its time; what it has written survives a kill, but
    would not survive a power cut.
    """

    def __init__(self, *, durable: bool = False, **settings: str) -> None:
        binaries = postgres_bin()
        if binaries is None:
            pytest.skip(MISSING)
        self._bin = binaries
        # Not below pytest's own folder: PostgreSQL does not run as root, and that folder is root's alone then.
        self.folder = Path(tempfile.mkdtemp(prefix="heatfleet-postgres-"))
        self._user = _other_user()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._settings = settings if durable else {"fsync": "off", "full_page_writes": "off", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._make()
        self.start()
        with psycopg.connect(self.url(role="postgres", database="postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN".encode())
            connection.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}".encode())

    def url(self, *, role: str = ROLE, database: str = DATABASE, password: str = "", schema: str = "") -> str:
        """An address here."""
        who = f"{role}:{quote(password, safe='')}" if password else role
        options = f"?options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}{options}"

    def fresh_url(self) -> str:
        """The address of an empty place: a schema of its own, which is made in a moment."""
        schema = f"test_{next(_schemas)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return self.url(schema=schema)

    def execute(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Run one statement, as somebody with a SQL prompt would."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def as_admin(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser."""
        return self.execute(statement, self.url(role="postgres"))

    def start(self) -> None:
        """Start it, on the port of before if it had one, and wait until it answers."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), **self._settings}
        settings |= {"unix_socket_directories": str(self.folder), "logging_collector": "off"}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            # Should this process be killed, the kernel tells PostgreSQL to stop at once.
            self._process = subprocess.Popen(
                [*self._as_user("--pdeathsig", "QUIT"), str(self._bin / "postgres"), "-D", self._data, *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when it takes connections."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            try:
                psycopg.connect(self.url(role="postgres", database="postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline_s, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: by SIGINT in order, cutting off who is connected; by SIGKILL as a crash would."""
        process = self._process
        if process is None:
            return
        if number == signal.SIGKILL:
            self._signal_all(number)
        else:
            process.send_signal(number)
        process.wait(WAIT_S)
        self._process = None

    def pause(self) -> None:
        """Stand still, all of it: it holds its connections and says nothing."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on after a pause."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove all that it wrote."""
        self.go_on()
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _make(self) -> None:
        command = [str(self._bin / "initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--locale=C"]
        subprocess.run(
            [*self._as_user(), *command, "--encoding=UTF8", "-D", self._data],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )
        rules = self.folder / "data/pg_hba.conf"
        guarded = f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(guarded + rules.read_text())

    def _as_user(self, *more: str) -> list[str]:
        if self._user is None:
            return ["setpriv", *more] if more else []
        who = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        return ["setpriv", *who, *more]

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in (*_children(self._process.pid), self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)


def _children(pid: int) -> Iterator[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return map(int, listed.split())


def _other_user() -> pwd.struct_passwd | None:
    """Who runs PostgreSQL: ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@cache
def shared_postgres() -> PostgresServer:
    """One server for all tests of this process, begun with the first that asks, and ended with the process."""
    server = PostgresServer()
    atexit.register(server.close)
    return server
