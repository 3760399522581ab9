"""The servers that are measured: started in a folder of their own on a free loopback port, and stopped afterwards."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.results import Unmeasurable
from benchmarks.wrk import Kind

START_WAIT_S = 30
STOP_WAIT_S = 30
ROOT = Path(__file__).parents[1]
STORE = "fleet.db"

_SERVE_WITHOUT_ROLLUP = """
from heatfleet.config import load_settings
from heatfleet.server import run
run(load_settings().model_copy(update={"rollup_every_s": 0}))
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure: how it is started, where it takes messages, and how to count what it kept."""

    name: str
    command: tuple[str, ...]
    ready_path: str
    batch_path: str
    batch_kind: Kind
    kept: Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and the folder that holds its database."""

    pid: int
    port: int
    folder: Path


def heatfleet() -> Target:
    """`heatfleet serve`, without the rollup beside it: that would begin when it likes."""
    return Target(
        "heatfleet", (sys.executable, "-c", _SERVE_WITHOUT_ROLLUP), "/readyz", "/message", "ndjson", _kept_in_journal
    )


def peer(name: str) -> Target:
    """A peer in `benchmarks/peers`, under uvicorn with what `pip install uvicorn[standard]` brings."""
    command = (sys.executable, "-m", "uvicorn", f"benchmarks.peers.{name}:app", "--log-level=warning")
    return Target(name, command, "/openapi.json", "/messages", "array", _kept_in_table)


@contextmanager
def running(target: Target, folder: Path) -> Iterator[Server]:
    """The server, ready, for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    given = {"PEER_DATABASE": str(folder / "peer.db"), "HEATFLEET_PORT": str(port)}
    port_option = [f"--port={port}"] if "uvicorn" in target.command else []
    log_path = folder / f"{target.name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*target.command, *port_option], cwd=folder, env=environment() | given, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{target.ready_path}", log_path)
        yield Server(process.pid, port, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment() -> dict[str, str]:
    """The environment without settings of whoever runs the benchmarks, and with ours."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("HEATFLEET_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [ours.get("PYTHONPATH")])])
    return ours | {"HEATFLEET_STORE": f"sqlite:///{STORE}", "PYTHONPATH": path}


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline_s = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise Unmeasurable(f"{process.args!r} did not start:\n{log_path.read_text(encoding='utf-8', errors='replace')}")


def _kept_in_journal(folder: Path) -> int:
    """Readings in the journal; all of them, while no rollup has run."""
    files = (folder / f"{STORE}.d").glob("journal-*.db")
    return sum(_one_number(path, "SELECT ifnull(sum(readings), 0) FROM journal") for path in files)


def _kept_in_table(folder: Path) -> int:
    return _one_number(folder / "peer.db", "SELECT count(*) FROM readings")


def _one_number(path: Path, query: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(query).fetchone()[0])
