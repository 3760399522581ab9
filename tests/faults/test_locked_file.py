"""Another process holds the store's files locked: refused soon, nothing lost, and all is well when it lets go."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import apsw
import httpx2
import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from tests.figures import Figure
from tests.kept import kept_readings
from tests.oracle import defined, told
from tests.path.conftest import WholeServer
from tests.serving import RunningServer, blocked_store, message

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
CLIENTS = 20
HANGS_S = 30
"""No answer takes so long, on any machine; that it is 2 s is measured."""


@dataclass
class Client:
    """Speaks for one device, one message after the other; what is refused is sent again until it is taken."""

    device_id: str
    sent: list[Reading] = field(default_factory=list)
    refused: int = 0
    longest_s: float = 0.0

    def talk(self, base_url: str, end: threading.Event) -> None:
        """Until it is told to end."""
        with httpx2.Client(base_url=base_url, timeout=HANGS_S, trust_env=False) as client:
            while not end.is_set():
                time_ms = START_MS + len(self.sent) * 1000
                self.sent.append(Reading(self.device_id, "p1", POWER, time_ms, len(self.sent) % 1500.0))
                while not self._is_taken(client, self.sent[-1]):
                    time.sleep(0.05)

    def _is_taken(self, client: httpx2.Client, said: Reading) -> bool:
        began_s = time.monotonic()
        value = {"code": "instant_power", "time": said.time_ms, "value": said.value}
        answer = client.post("/message", json=message(said.device_id, value))
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        if answer.is_success:
            return True
        self.refused += 1
        assert answer.status_code == 503
        assert answer.json()["type"] in ("/problems/store-unavailable", "/problems/overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        return False


@contextmanager
def locked(server: RunningServer) -> Iterator[None]:
    """Hold the journal and the main file, as a careless script would."""
    with closing(apsw.Connection(str(server.store_path))) as main, blocked_store(server):
        main.set_busy_timeout(HANGS_S * 1000)
        main.execute("BEGIN IMMEDIATE")
        yield


def refused_while_locked(server: WholeServer, locked_s: float, figure: Figure) -> None:
    server.expect_errors = True
    clients = [Client(f"d{number}") for number in range(CLIENTS)]
    end = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        talks = [pool.submit(client.talk, server.base_url, end) for client in clients]
        try:
            while not all(client.sent for client in clients):
                time.sleep(0.01)
            with locked(server):
                began_s = time.monotonic()
                while time.monotonic() - began_s < locked_s:
                    assert server.metric("heatfleet_queue_readings") <= CLIENTS
                    assert server.client.get("/report").is_success
                    assert server.client.get("/livez").is_success
                    time.sleep(0.2)
                assert server.client.get("/readyz").status_code == 503
                assert all(client.refused for client in clients)
            freed_s = time.monotonic()
            sent = [len(client.sent) for client in clients]
            while any(len(client.sent) == before for client, before in zip(clients, sent, strict=True)):
                assert time.monotonic() - freed_s < HANGS_S
                time.sleep(0.005)
            back_s = time.monotonic() - freed_s
        finally:
            end.set()
    for talk in talks:
        talk.result()
    everything = [reading for client in clients for reading in client.sent]
    now_ms = server.rollup().as_of_ms
    assert set(everything) == kept_readings(server.store_path)
    with closing(open_store(server.store_url, writable=False)) as store:
        assert defined(everything, now_ms) == told(store.figures())
    assert 1 == len([line for line in server.log() if line["event"] == "readings cannot be stored"])
    figure("D6", "files held locked by another process (s)", locked_s)
    figure("D6", "longest wait for any answer meanwhile (s)", max(client.longest_s for client in clients))
    figure("D6", "all clients served again after it let go (s)", back_s)


def test_a_locked_file_is_refused_soon_until_it_is_free(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """While another process holds the files: 503, reads go on; afterwards every reading is taken, and counted once."""
    refused_while_locked(start_whole_server(rollup_every_s=0.5), 5.0, figure)


@pytest.mark.soak
def test_a_file_locked_for_long_is_refused_soon_until_it_is_free(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """The same for half a minute."""
    refused_while_locked(start_whole_server(rollup_every_s=0.5), 30.0, figure)
