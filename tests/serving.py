"""The real server, in a process of its own, for tests that speak HTTP to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import httpx2

from heatfleet.storage import open_store
from heatfleet.storage.base import Rollup

START_WAIT_S = 30
STOP_WAIT_S = 15

# The rollup runs when a test asks for it, and at no other time.
_SERVE = """
import json, sys
from heatfleet.api.door import Limits
from heatfleet.config import load_settings
from heatfleet.server import run
door, limits = json.loads(sys.argv[1])
run(load_settings().model_copy(update={"rollup_every_s": 0}), door=door, limits=Limits(**limits) if limits else None)
"""

SEED_MESSAGE = b"""{
  "bizCode": "devicePropertyMessage",
  "bizData": {
    "devId": "bfadafebb608a154206aqu",
    "productId": "ixhko1cls7lzpwsf",
    "properties": [
      {
        "code": "instant_power",
        "dpId": 1,
        "time": 1732631573782,
        "value": 2500
      }
    ]
  },
  "ts": 1732631573782
}"""
"""The original's example, to the letter."""


def message(device_id: str = "d1", *properties: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A message of one device; without properties it tells 1000 W at a time in 2024."""
    told = properties or ({"code": "instant_power", "time": 1_732_631_573_782, "value": 1000},)
    data = {"devId": device_id, "productId": "p1", "properties": list(told)}
    return {"bizCode": "devicePropertyMessage", "bizData": data} | fields


def ndjson(*messages: dict[str, Any]) -> bytes:
    """One message on each line."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in messages)


class RunningServer:
    """A server process over the store in ``folder``, started at once and again by ``start`` after it ended.

    ``settings`` are those of ``Settings``, by name. A line of level error in its log fails the test that ends
    it, unless ``expect_errors`` is set. ``limits`` are those of ``api.door.Limits``; without the ``door`` uvicorn
    serves alone.
    """

    script = _SERVE

    def __init__(
        self, folder: Path, *, door: bool = True, limits: dict[str, float] | None = None, **settings: object
    ) -> None:
        self._options = json.dumps([door, limits])
        self.folder = folder
        self.store_path = folder / "heatfleet.db"
        self.store_url = f"sqlite:///{self.store_path}"
        self.log_path = folder / "server.log"
        self.expect_errors = False
        self.host = "127.0.0.1"
        self.port = free_port()
        self.base_url = f"http://{self.host}:{self.port}"
        self.client = httpx2.Client(base_url=self.base_url, timeout=30, trust_env=False)
        given = {"store": self.store_url, "port": self.port, "log_format": "json", **settings}
        self._env = clean_environment() | {f"HEATFLEET_{name.upper()}": str(value) for name, value in given.items()}
        self.start()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", self.script, self._options],
                cwd=self.folder,
                env=self._env,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            try:
                if self.client.get("/readyz").is_success:
                    return
            except httpx2.TransportError:
                time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not start:\n{self.log_path.read_text()}")

    def rollup(self, now_ms: int | None = None) -> Rollup:
        """One rollup, now, beside the running server."""
        with closing(open_store(self.store_url, writable=False)) as store:
            return store.rollup(time.time_ns() // 1_000_000 if now_ms is None else now_ms)

    def post(self, content: bytes | dict[str, Any] | list[Any], **headers: str) -> httpx2.Response:
        """POST /message; bytes as they are, anything else as JSON. Underscores in header names mean dashes."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/message", content=body, headers={"Content-Type": "application/json"} | named)

    def metric(self, name: str) -> float:
        """The value of one metric, named with its labels as in the text format; 0 when it is not there."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def log(self) -> list[dict[str, Any]]:
        """The log's lines so far."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the process to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_WAIT_S)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process if it still runs, and look for errors that were only logged."""
        self.client.close()
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        errors = [line for line in self.log() if line["level"] in ("error", "critical")]
        assert self.expect_errors or not errors, errors


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("HEATFLEET_")}


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def blocked_store(server: RunningServer) -> AbstractContextManager[None]:
    """Hold the journal's write lock from outside, as a careless backup would."""
    return blocked_journal(server.store_path)


@contextmanager
def blocked_journal(store_path: Path) -> Iterator[None]:
    """The same, of a store whose server is none of ours."""
    [journal] = store_path.with_name("heatfleet.db.d").glob("journal-*.db")
    connection = apsw.Connection(str(journal))
    connection.set_busy_timeout(10_000)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()
