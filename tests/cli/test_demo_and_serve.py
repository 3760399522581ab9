"""The two commands that run until they are stopped, as processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from heatfleet.cli.exits import ExitCode
from tests.cli.conftest import Run
from tests.serving import RunningServer, clean_environment, free_port

WAIT_S = 60


class Running:
    """A command in a folder, its words in files."""

    def __init__(self, folder: Path, *arguments: object, **environment: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heatfleet", *map(str, arguments)],
                cwd=folder,
                env=clean_environment() | {"COLUMNS": "200"} | environment,
                stdout=out,
                stderr=err,
            )

    def wait_for(self, reached: Callable[[], object]) -> None:
        """Until something is true."""
        give_up_s = time.monotonic() + WAIT_S
        while not reached():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < give_up_s, self.err.read_text()
            time.sleep(0.05)

    def children(self) -> list[int]:
        """The processes this one has started, and theirs."""
        return list(_children_of(self.process.pid))

    def stop(self, number: signal.Signals) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


def _children_of(process: int) -> Iterator[int]:
    for child in map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        yield child
        yield from _children_of(child)


def _messages_posted(words: str) -> int:
    """The greatest count that the progress tells."""
    return max(int(count.replace(",", "")) for count in re.findall(r"([0-9,]+) messages ", words))


def _is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a command; whatever still runs at the end is ended."""
    started: list[Running] = []

    def start(*arguments: object, **environment: str) -> Running:
        started.append(Running(tmp_path, *arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_runs_until_stopped_and_goes_on_the_next_time(
    number: signal.Signals, running: Callable[..., Running]
) -> None:
    """It shows where to look, posts history and then live, leaves no process behind, and keeps its data."""
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ("demo", "--devices", 3, "--days", 1, "--port", url.rpartition(":")[2])
    first = running(*arguments, HEATFLEET_ROLLUP_EVERY_S="0.5")
    first.wait_for(lambda: "live · " in first.err.read_text())
    first.wait_for(lambda: len(httpx2.get(f"{url}/devices", trust_env=False).json()["devices"]) == 3)
    children = first.children()
    code = first.stop(number)
    told, first_words = first.out.read_text(), first.err.read_text()

    assert code == 0, first_words
    assert len(children) > 2  # the server, its rollup, and whoever decodes the history's batches
    assert not any(map(_is_alive, children))
    assert "Traceback" not in first_words
    assert all(f"{url}/{path}" in told for path in ["docs", "redoc", "report", "devices", "metrics", "message", "send"])

    second = running(*arguments)
    second.wait_for(lambda: "live · " in second.err.read_text())
    assert "kept as it is, whatever --days says" in second.err.read_text()
    assert second.stop(number) == 0
    assert _messages_posted(first_words) > 500
    assert _messages_posted(second.err.read_text()) < 50


@pytest.mark.slow
def test_demo_ends_when_its_server_does(running: Callable[..., Running]) -> None:
    """A demo without a server says so and fails, rather than waiting for ever, and takes the rollup with it."""
    demo = running("demo", "--devices", 1, "--days", 0, "--port", free_port())
    demo.wait_for(lambda: "live · " in demo.err.read_text())
    demo.wait_for(lambda: len(demo.children()) == 2)
    children = demo.children()
    os.kill(children[0], signal.SIGKILL)

    assert demo.process.wait(WAIT_S) == ExitCode.FAILURE
    give_up_s = time.monotonic() + WAIT_S
    while any(map(_is_alive, children)) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert not any(map(_is_alive, children))
    assert "the server ended by itself, with exit code -9" in demo.err.read_text()
    assert "Traceback" not in demo.err.read_text()


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_port_that_is_taken(command: str, running: Callable[..., Running]) -> None:
    """Which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = running(command, "--port", port)

        assert refused.process.wait(WAIT_S) == ExitCode.CONFIGURATION
    assert f"port {port}" in refused.err.read_text().splitlines()[-1]


def test_demo_beside_another_with_the_same_store(start_server: Callable[..., RunningServer], run: Run) -> None:
    """Whatever the port, it says how to start a second one, as `make` and as the command."""
    server = start_server()
    refusals = [run("demo", "--port", port, "--store", server.store_url).err for port in (server.port, free_port())]

    assert all(said.startswith("heatfleet: Heatfleet already runs here") for said in refusals)
    assert all('make run ARGS="--port 9000 --store sqlite:///var/second.db"' in said for said in refusals)


def test_address_that_is_not_of_this_machine(run: Run) -> None:
    """A demo cannot listen there, and says why."""
    refused = run("demo", HEATFLEET_HOST="192.0.2.1")

    assert refused.code == ExitCode.CONFIGURATION
    assert "port 8000 of 192.0.2.1 cannot be listened on" in refused.err


def test_serve_needs_a_key_where_others_can_reach_it(run: Run, running: Callable[..., Running]) -> None:
    """Without one it does not start, and says the two commands that mend it; typed as they stand, they do."""
    port = free_port()
    started = running("serve", "--host", "0.0.0.0", "--port", port)
    code, told = started.process.wait(WAIT_S), started.err.read_text()
    mends = [line.split()[2:] for line in told.splitlines() if "heatfleet keys" in line or "heatfleet serve" in line]

    assert 78 == code
    assert "0.0.0.0 can be reached by other machines" in told
    assert ["keys", "serve"] == [mend[0] for mend in mends]

    key = run(*mends[0]).out.strip()
    server = running(*mends[1], "--port", port, HEATFLEET_LOG_FORMAT="json")
    server.wait_for(lambda: "listening" in server.err.read_text())

    assert 77 == run("report", HEATFLEET_PORT=str(port)).code
    assert 0 == run("report", HEATFLEET_PORT=str(port), HEATFLEET_API_KEY=key).code
    assert 0 == server.stop(signal.SIGINT)


def test_demo_asks_for_the_key_of_a_store_that_has_keys(run: Run) -> None:
    """At once, where every message of its fleet would be refused."""
    assert 0 == run("keys", "create", "--name", "x", "--scope", "admin").code
    refused = run("demo", "--port", free_port())

    assert 78 == refused.code
    assert "HEATFLEET_API_KEY" in refused.err
