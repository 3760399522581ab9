"""A server that is killed, doubled or told to leave under load keeps its word: what it answered for is stored, once."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

import pytest

from heatfleet.domain.messages import CODE_NAMES, POWER, TEMPERATURE, Reading
from heatfleet.storage import open_store
from tests.figures import Figure
from tests.kept import kept_readings
from tests.oracle import defined, told
from tests.path.conftest import WholeServer, wait_until
from tests.path.expected import expected_report
from tests.serving import RunningServer, clean_environment, free_port, message, ndjson

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
WAIT_S = 60


@dataclass
class Gateway:
    """Speaks for one device, ``size`` messages a request, and keeps book of each request's readings and fate."""

    device_id: str
    size: int
    asked: list[list[Reading]] = field(default_factory=list)
    answered: list[list[Reading]] = field(default_factory=list)

    def talk(self, host: str, port: int) -> None:
        """One request after the other, until the server is gone, or says that it is leaving."""
        kind = {"Content-Type": "application/json" if self.size == 1 else "application/x-ndjson"}
        with closing(HTTPConnection(host, port, timeout=WAIT_S)) as connection:
            while True:
                first = len(self.asked) * self.size
                pairs = [self._said(place) for place in range(first, first + self.size)]
                self.asked.append([reading for pair in pairs for reading in pair])
                try:
                    connection.request("POST", "/message", ndjson(*(as_message(*pair) for pair in pairs)), kind)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, HTTPException):
                    return
                # A server that leaves waits a moment for the rest of a body: on a busy machine it may come later.
                if answer.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.REQUEST_TIMEOUT}:
                    return
                assert json.loads(body) == {"status": "ok", "inserted": 2 * self.size}
                self.answered.append(self.asked[-1])

    def _said(self, place: int) -> tuple[Reading, Reading]:
        """Power and temperature at an instant at which this device says nothing else."""
        time_ms = START_MS + place * 1_000
        return (
            Reading(self.device_id, "p1", POWER, time_ms, float(place % 2_000)),
            Reading(self.device_id, "p1", TEMPERATURE, time_ms, place % 300 / 10),
        )


def as_message(*said: Reading) -> dict[str, object]:
    properties = ({"code": CODE_NAMES[one.code], "time": one.time_ms, "value": one.value} for one in said)
    return message(said[0].device_id, *properties, ts=said[0].time_ms)


def gateways() -> list[Gateway]:
    """Fifty clients, some of which send batches."""
    return [Gateway(f"d{number}", 20 if number % 10 == 0 else 1) for number in range(50)]


def under_load(server: RunningServer, clients: list[Gateway], work: Callable[[], object], *, answers: int) -> None:
    """Do the work when all clients talk at once and so many requests are answered; they then talk to the end."""
    before = sum(len(client.answered) for client in clients)
    with ThreadPoolExecutor(len(clients)) as pool:
        talks = [pool.submit(client.talk, server.host, server.port) for client in clients]
        try:
            while sum(len(client.answered) for client in clients) < before + answers:
                assert not any(talk.done() for talk in talks)
                time.sleep(0.005)
            work()
        finally:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGTERM)
            server.process.wait(WAIT_S)
    for talk in talks:
        talk.result()


def keeps_its_word(server: RunningServer, clients: list[Gateway]) -> set[Reading]:
    """Whether all that was answered for is stored, nothing that nobody sent, and every figure counts just that."""
    now_ms = server.rollup().as_of_ms
    kept = kept_readings(server.store_path)
    asked, answered = (
        {reading for request in requests for reading in request}
        for requests in ((r for client in clients for r in client.asked), (r for c in clients for r in c.answered))
    )

    assert answered <= kept <= asked
    with closing(open_store(server.store_url, writable=False)) as store:
        assert defined(kept, now_ms) == told(store.figures())
    assert expected_report(kept, now_ms) == server.client.get("/report").json()
    return kept


def survives_kills(server: RunningServer, seed: int, kills: int, figure: Figure) -> None:
    """Kill the server under load at moments of chance, with a rollup now and then; it has kept its word at the end."""
    dice = random.Random(seed)
    clients = gateways()
    ready_s = []
    for number in range(kills):
        under_load(server, clients, server.kill, answers=dice.randrange(1, 300))
        began_s = time.monotonic()
        server.start()
        ready_s.append(time.monotonic() - began_s)
        if number % 4 == 0:
            server.rollup()
    kept = keeps_its_word(server, clients)
    for client in clients:
        for request in client.asked:
            assert len(kept.intersection(request)) in (0, len(request)), f"seed {seed}"
    figure("D1", "kills under load, 50 clients", kills)
    figure("D1", "readings answered for, all kept and counted once", sum(len(r) for c in clients for r in c.answered))
    figure("D1", "ready again after a kill (s, p95)", sorted(ready_s)[int(0.95 * (kills - 1))])


def test_what_was_answered_for_survives_kills(server: RunningServer, figure: Figure) -> None:
    """Killed under load, the server has each answered reading once, and is ready again each time."""
    survives_kills(server, seed=1, kills=20, figure=figure)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_was_answered_for_survives_many_kills(server: RunningServer, figure: Figure) -> None:
    """The same with two hundred kills, at other moments each time that it is run."""
    survives_kills(server, seed=random.SystemRandom().randrange(1 << 32), kills=200, figure=figure)


def test_a_second_server_is_refused_and_the_first_goes_on(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """Another server for the same store ends with 78 and says why; the first goes on to take and to count readings."""
    server = start_whole_server(rollup_every_s=0.2)
    clients = gateways()
    second: list[subprocess.CompletedProcess[str]] = []
    took_s: list[float] = []

    def start_second() -> None:
        command = [sys.executable, "-m", "heatfleet", "serve", "--store", server.store_url]
        began_s = time.monotonic()
        second.append(
            subprocess.run(
                [*command, "--port", str(free_port())],
                env=clean_environment(),
                cwd=server.folder,
                timeout=WAIT_S,
                text=True,
                capture_output=True,
                check=False,
            )
        )
        took_s.append(time.monotonic() - began_s)
        answered, counted = sum(len(client.answered) for client in clients), server.client.get("/report").json()
        while sum(len(client.answered) for client in clients) < answered + 100:
            assert server.process.poll() is None
            time.sleep(0.005)
        wait_until(lambda: counted != server.client.get("/report").json())

    under_load(server, clients, start_second, answers=100)

    assert second[0].returncode == 78
    assert "another server" in second[0].stderr
    assert "Traceback" not in second[0].stderr
    figure("D9", "a second server on the same store was refused after (s, with the start of Python)", took_s[0])
    server.start()
    keeps_its_word(server, clients)


def test_told_to_leave_under_load_it_answers_for_what_it_took(server: RunningServer) -> None:
    """On SIGTERM every request that was taken is answered, every other is cut off and not stored; exit code 0."""
    clients = gateways()
    under_load(server, clients, lambda: None, answers=300)

    assert server.process.returncode == 0
    server.start()
    kept = keeps_its_word(server, clients)
    assert {reading for client in clients for request in client.answered for reading in request} == kept
