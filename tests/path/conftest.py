"""What the whole-way tests share: the server as people start it, and simulated fleets whose every word is known."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from heatfleet.domain.messages import Reading
from heatfleet.simulator import Fleet, SimulationOptions
from tests.path.expected import readings_in
from tests.serving import START_WAIT_S, RunningServer


def wait_until(condition: Callable[[], bool], within_s: float = START_WAIT_S) -> None:
    """Wait for what is about to happen; the time is generous, and nothing is concluded from it."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class WholeServer(RunningServer):
    """As `heatfleet serve` runs it, with its rollup beside it."""

    def start(self) -> None:
        """Start both processes and wait until requests are served."""
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", "heatfleet", "serve"]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self._env, stderr=log)
        try:
            wait_until(self._is_ready)
        except AssertionError:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log_path.read_text()}") from None

    def rollup_pids(self) -> list[int]:
        """The rollup process beside the server; none while it has died and not been started again."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in children.stdout.split()]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None
        try:
            return self.client.get("/readyz").is_success
        except httpx2.TransportError:
            return False


@dataclass(frozen=True)
class Lived:
    """All that a simulated fleet says: messages in order of arrival, as lines of JSON, and their readings."""

    options: SimulationOptions
    lines: list[bytes]
    readings: list[Reading]


def live(options: SimulationOptions) -> Lived:
    """Live through a simulation without a service."""
    assert options.end_ms is not None
    fleet = Fleet(options)
    batches = (*fleet.batches(options.end_ms), *fleet.last_batches())
    lines = b"".join(batch.body for batch in batches).splitlines(keepends=True)
    return Lived(options, lines, readings_in(lines))


@pytest.fixture
def start_whole_server(tmp_path: Path) -> Iterator[Callable[..., WholeServer]]:
    """Starts a whole server over an empty store, with settings by name."""
    started: list[WholeServer] = []

    def start(**settings: object) -> WholeServer:
        started.append(WholeServer(tmp_path, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def start_server_in() -> Iterator[Callable[..., WholeServer]]:
    """Starts whole servers, each in a folder of its own, with settings by name."""
    started: list[WholeServer] = []

    def start(folder: Path, **settings: object) -> WholeServer:
        folder.mkdir()
        started.append(WholeServer(folder, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.close()
