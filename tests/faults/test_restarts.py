"""A server that is told to leave under all kinds of load leaves soon, and what it did not answer can be sent again."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.door.wire import Wire, request
from tests.faults.test_kill_server import Gateway, as_message, gateways, keeps_its_word, under_load
from tests.figures import Figure
from tests.filled import fill_figures
from tests.serving import RunningServer, message, ndjson

LEAVE_S = 10.0
CI_PATIENCE = 4
"""How many times as long a slow machine may take."""
LONG = "/report?interval=quarter&detail=true"


def send_again(server: RunningServer, client: Gateway) -> None:
    """Send the last request of a gateway again, unless it was answered."""
    if client.asked[-1:] == client.answered[-1:]:
        return
    said = client.asked[-1]
    body = ndjson(*(as_message(*said[place : place + 2]) for place in range(0, len(said), 2)))
    answer = server.post(body, Content_Type="application/json" if client.size == 1 else "application/x-ndjson")
    assert {"status": "ok", "inserted": len(said)} == answer.json()
    client.answered.append(said)


@contextmanager
def listeners(server: RunningServer, count: int) -> Iterator[list["Future[bool]"]]:
    """So many who listen for orders, and as many who ask for reports, until their server is gone."""
    stop = threading.Event()

    def listen(number: int) -> bool:
        with Wire(server) as wire:
            wire.send(request(method="GET", path=f"/commands/stream?device_id=d{number}"))
            while wire.socket.recv(65536):
                pass
        return True

    def ask(_: int) -> bool:
        with httpx2.Client(base_url=server.base_url, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                try:
                    assert client.get("/report?interval=quarter").status_code in (200, 503)
                except httpx2.TransportError:
                    break
        return True

    with ThreadPoolExecutor(2 * count) as pool:
        try:
            yield [pool.submit(work, number) for number in range(count) for work in (listen, ask)]
        finally:
            stop.set()


@pytest.mark.parametrize("restarts", [10, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_restarts_under_load(server: RunningServer, figure: Figure, restarts: int) -> None:
    """Messages, batches, streams and reports in flight: all that was answered is stored, the rest is sent again."""
    clients, dice = gateways(), random.Random(restarts)
    left_s: list[float] = []

    def leave() -> None:
        began_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert 0 == server.process.wait(CI_PATIENCE * LEAVE_S)
        left_s.append(time.monotonic() - began_s)

    for number in range(restarts):
        with listeners(server, 3) as others:
            under_load(server, clients, leave, answers=dice.randrange(20, 120))
            wait(others)
            assert all(other.result() for other in others)
        server.start()
        for client in clients:
            send_again(server, client)
        if number % 3 == 0:
            server.rollup()
    kept = keeps_its_word(server, clients)
    figure("L1", f"{restarts} restarts: requests answered", sum(len(client.answered) for client in clients))
    figure("L1", f"{restarts} restarts: the slowest to leave (s)", max(left_s))

    assert {reading for client in clients for one in client.asked for reading in one} == kept


def asked_for(server: RunningServer, path: str, count: int) -> list[Wire]:
    """So many connections on which this was asked for, and nothing was read."""
    return [Wire(server).send(request(method="GET", path=path)) for _ in range(count)]


def test_long_reports_and_streams_do_not_keep_it(start_server: Callable[..., RunningServer], figure: Figure) -> None:
    """Reports that would take longer are told to come back, streams end, and the server is gone."""
    server = start_server(report_timeout_s=600)
    fill_figures(server.store_path, 8)
    with ExitStack() as opened:
        streams, reports = asked_for(server, "/commands/stream?device_id=d1", 20), asked_for(server, LONG, 20)
        for wire in (*streams, *reports):
            opened.enter_context(wire)
        for wire in streams:  # the message below goes by a connection that is known, and may overtake new ones
            assert b"200 OK" in wire.socket.recv(65536)
        assert 200 == server.post(message()).status_code
        began_s = time.monotonic()
        server.process.terminate()
        # One that the server had not begun to read may be closed without a word, like any idle connection.
        statuses = {wire.answer().status for wire in reports if not wire.is_closed()}
        for wire in streams:
            while wire.socket.recv(65536):
                pass

    assert 0 == server.process.wait(CI_PATIENCE * LEAVE_S)
    figure("L1", "20 long reports and 20 streams: gone after (s)", time.monotonic() - began_s)
    assert statuses
    assert {200, 503} >= statuses


def test_who_does_not_read_does_not_keep_it(start_server: Callable[..., RunningServer]) -> None:
    """Half an answer that nobody reads is broken off, and the server leaves in order."""
    server = start_server()
    server.expect_errors = True  # one line: what had to be broken off
    fill_figures(server.store_path, 4)
    with ExitStack() as opened:
        for wire in asked_for(server, LONG, 2):
            opened.enter_context(wire)
            assert b" 200 OK" in wire.socket.recv(100)
        server.process.terminate()
        assert 0 == server.process.wait(CI_PATIENCE * LEAVE_S)
    assert not [line for line in server.log() if "exception" in line]
    assert "stopped" == server.log()[-1]["event"]


def test_a_second_signal_does_not_wait(start_server: Callable[..., RunningServer]) -> None:
    """Asked twice, it leaves at once, whatever is being reckoned; what was answered is on disk."""
    server = start_server(report_timeout_s=600)
    server.expect_errors = True
    fill_figures(server.store_path, 20)
    with ExitStack() as opened:
        for wire in asked_for(server, LONG, 10):
            opened.enter_context(wire)
        assert 200 == server.post(message()).status_code
        server.process.terminate()
        time.sleep(0.3)  # two signals that are pending at once may be told in any order
        assert 143 == server.stop()
    assert 1 == server.rollup().readings


class StuckReports(RunningServer):
    """A server whose disk never answers to who reads figures."""

    script = f"""
import threading
from heatfleet.storage.sqlite.store import SqliteStore
SqliteStore.figures = lambda *_: threading.Event().wait()
{RunningServer.script}"""


def test_a_stuck_disk_does_not_keep_it(tmp_path: Path) -> None:
    """Reports that never end are refused at their deadline, and a server that is told to leave leaves all the same."""
    server = StuckReports(tmp_path, report_timeout_s=0.5)
    server.expect_errors = True
    with ExitStack() as opened:
        for wire in asked_for(server, "/report", 5):
            assert 503 == opened.enter_context(wire).answer().status
        assert 200 == server.post(message()).status_code
        server.process.terminate()
        assert 1 == server.process.wait(CI_PATIENCE * LEAVE_S)
    server.close()
