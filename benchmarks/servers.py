"""The servers that are measured: started in a folder of their own on a free loopback port, and stopped afterwards."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.results import Unmeasurable
from benchmarks.wrk import Way

START_WAIT_S = 60
STOP_WAIT_S = 30
BATCH = 10_000
ROOT = Path(__file__).parents[1]
STORE = "fleet.db"

_SERVE_WITHOUT_ROLLUP = """
from heatfleet.config import load_settings
from heatfleet.server import run
run(load_settings().model_copy(update={"rollup_every_s": 0}))
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and the folder that holds its database."""

    pid: int
    port: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure: its command in this folder on this port, the ways in, and how to count what it kept.

    ``kept`` is asked while the server runs; ``None`` for one that keeps nothing. ``prepare`` is called at the start.
    """

    name: str
    command: Callable[[Path, int], Sequence[str]]
    ready_path: str
    single: Way
    batch: Way | None
    kept: Callable[[Server], int] | None
    prepare: Callable[[Server], None] | None = None

    def way(self, *, batches: bool) -> Way:
        """The way in for this kind of load."""
        if not batches:
            return self.single
        assert self.batch is not None
        return self.batch


def heatfleet(*, rollup: bool = False, name: str = "heatfleet") -> Target:
    """`heatfleet serve`; most often without the rollup beside it, which would begin when it likes."""
    words = ("-m", "heatfleet", "serve") if rollup else ("-c", _SERVE_WITHOUT_ROLLUP)
    return Target(
        name=name,
        command=lambda _folder, _port: (sys.executable, *words),
        ready_path="/readyz",
        single=Way("/message", "json", 1),
        batch=Way("/message", "ndjson", BATCH),
        kept=_kept_in_journal,
    )


def peer(name: str) -> Target:
    """A peer in `benchmarks/peers`, under uvicorn with what `pip install uvicorn[standard]` brings."""
    words = ("-m", "uvicorn", f"benchmarks.peers.{name}:app", "--log-level=warning")
    return Target(
        name=name,
        command=lambda _folder, port: (sys.executable, *words, f"--port={port}"),
        ready_path="/openapi.json",
        single=Way("/message", "json", 1),
        batch=Way("/messages", "array", BATCH),
        kept=lambda server: _one_number(server.folder / "peer.db", "SELECT count(*) FROM readings"),
    )


@contextmanager
def running(target: Target, folder: Path) -> Iterator[Server]:
    """The server, ready, for as long as the block lasts."""
    port = free_port()
    given = {"PEER_DATABASE": str(folder / "peer.db"), "HEATFLEET_PORT": str(port)}
    log_path = folder / f"{target.name}.log"
    with log_path.open("wb") as log:
        command = target.command(folder, port)
        process = subprocess.Popen(command, cwd=folder, env=environment() | given, stdout=log, stderr=log)
    server = Server(process.pid, port, folder)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{target.ready_path}", log_path)
        if target.prepare is not None:
            target.prepare(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment without settings of whoever runs the benchmarks, and with ours."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("HEATFLEET_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [ours.get("PYTHONPATH")])])
    # Often, so that who waits for the rollup beside a server does not wait a minute.
    return ours | {"HEATFLEET_STORE": f"sqlite:///{STORE}", "HEATFLEET_ROLLUP_EVERY_S": "2", "PYTHONPATH": path}


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline_s = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.02)
    raise Unmeasurable(f"{process.args!r} did not start:\n{log_path.read_text(encoding='utf-8', errors='replace')}")


def _kept_in_journal(server: Server) -> int:
    """Readings in the journal; all of them, while no rollup has run."""
    files = (server.folder / f"{STORE}.d").glob("journal-*.db")
    return sum(_one_number(path, "SELECT ifnull(sum(readings), 0) FROM journal") for path in files)


def _one_number(path: Path, query: str) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query).fetchone()[0])
