"""Several servers on one PostgreSQL, in processes of their own: killed, asked at once, and with the database killed."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, cycle, islice
from threading import Barrier, Event, Thread
from typing import Any

import httpx2
import psycopg
import pytest

from heatfleet.storage import open_key_ring
from tests.figures import Figure
from tests.keys import BY_TEST, bearer, make_key
from tests.postgres import PostgresServer, shared_postgres
from tests.serving import RunningServer

WAIT_S = 60
DEVICES = [f"d{number}" for number in range(20)]
GIVERS = 4
EACH_ITS_OWN = [[f"g{giver}-{number}" for number in range(100)] for giver in range(GIVERS)]
"""As many devices as one may listen for; an order for each, so none is superseded."""


@dataclass(frozen=True)
class Several:
    """Three servers on one database, where everybody needs a key."""

    servers: list[RunningServer]
    url: str
    key: str

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement of SQL on what they share."""
        return shared_postgres().execute(statement, self.url)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Several]:
    """Servers that these tests share; one that a test kills, it starts again."""
    url = shared_postgres().fresh_url()
    key, _ = make_key(url, "admin")
    with ExitStack() as opened:
        servers = [RunningServer(tmp_path_factory.mktemp("server"), db=url) for _ in range(3)]
        for server in servers:
            opened.callback(server.close)
            server.client.headers.update(bearer(key))
        yield Several(servers, url, key)


def until(condition: Callable[[], object]) -> float:
    """Wait for what is about to happen; gives the seconds it took."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() < began_s + WAIT_S
        time.sleep(0.02)
    return time.monotonic() - began_s


def send(server: RunningServer, device_id: str, key: str) -> httpx2.Response:
    """POST /send with an Idempotency-Key."""
    order = {"device_id": device_id, "switch": True}
    return server.client.post("/send", json=order, headers={"Idempotency-Key": key})


class Listening:
    """Somebody who listens to a server for all devices, hangs up after a second of silence, and comes back."""

    def __init__(self, server: RunningServer, devices: Iterable[str]) -> None:
        self._query = "&".join(f"device_id={name}" for name in devices)
        self._client = httpx2.Client(
            base_url=server.base_url, timeout=1, trust_env=False, headers=server.client.headers
        )
        self._stop = Event()
        self.there = Event()
        self.heard: list[int] = []
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self.there.wait(WAIT_S)

    def stop(self) -> None:
        """Hear no more."""
        self._stop.set()
        self._thread.join(WAIT_S)
        self._client.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            last = {"Last-Event-ID": str(self.heard[-1])} if self.heard else {}
            try:
                with self._client.stream("GET", f"/commands/stream?{self._query}", headers=last) as answer:
                    self.there.set()
                    self._read(answer)
            except httpx2.HTTPError:
                time.sleep(0.05)

    def _read(self, answer: httpx2.Response) -> None:
        for line in answer.iter_lines():
            if line.startswith("id:"):
                self.heard.append(int(line.removeprefix("id:")))
            if self._stop.is_set():
                return


def test_the_same_key_at_all_servers_at_once(several: Several) -> None:
    """One executes the orders, all give the same answer, and a listener of any server hears each order once."""
    servers = several.servers
    [last] = several.execute("SELECT last FROM order_sequence")
    listening = [Listening(server, DEVICES) for server in servers]
    start = Barrier(6)

    def give(number: int) -> list[str]:
        told = []
        for turn, device_id in enumerate(DEVICES):
            start.wait()
            answer = send(servers[number % 3], device_id, f"key-{turn}")
            assert 200 == answer.status_code, answer.text
            told.append(answer.headers["Location"])
        return told

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(give, range(6)))
    assert [told[0]] * 6 == told
    assert len(DEVICES) == len(set(told[0]))
    rows = several.execute(f"SELECT sequence, state FROM command WHERE sequence > {last[0]} ORDER BY sequence")
    assert ["published"] * len(DEVICES) == [state for _, state in rows]
    until(lambda: all(len(one.heard) >= len(rows) for one in listening))
    for one in listening:
        one.stop()
        assert [sequence for sequence, _ in rows] == one.heard


def test_a_server_killed_with_orders_under_way(several: Several) -> None:
    """They are never sent: another server settles them as failed, and takes the same again with their key at once."""
    doomed, other, _ = several.servers
    with psycopg.connect(several.url) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT * FROM order_sequence FOR UPDATE")  # nothing is settled meanwhile
        sending = pool.submit(send, doomed, "lonely", "k")
        until(lambda: several.execute("SELECT 1 FROM command WHERE state = 'accepted'"))
        doomed.kill()
        with pytest.raises(httpx2.TransportError):
            sending.result()
        holder.rollback()
    until(lambda: len(several.execute("SELECT owner FROM living_owner")) == 2)
    answer = send(other, "lonely", "k")
    doomed.start()

    assert 200 == answer.status_code
    rows = several.execute("SELECT state, command_id FROM command WHERE device_id = 'lonely' ORDER BY sequence")
    assert ["published", "failed"] == [state for state, _ in rows]
    assert f"/commands/{rows[0][1]}" == answer.headers["Location"] == send(doomed, "lonely", "k").headers["Location"]


def test_a_revoked_key_opens_no_server(several: Several, figure: Figure) -> None:
    """What is revoked beside one of them is refused by all, 5 s later at the latest."""
    key, key_id = make_key(several.url, "report")

    def statuses() -> set[int]:
        return {it.client.get("/report", headers=bearer(key)).status_code for it in several.servers}

    until(lambda: statuses() == {200})
    with closing(open_key_ring(several.url)) as ring:
        ring.revoke(key_id, time.time_ns() // 1_000_000, by=BY_TEST)
    figure("K9", "a revoked key is refused by 3 servers after (s)", until(lambda: 200 not in statuses()))


class Giving:
    """Orders, each given again and again with its key until it is taken, at servers in turn."""

    def __init__(self, servers: list[RunningServer], pause_s: float) -> None:
        self._servers = servers
        self._pause_s = pause_s
        self.given: dict[str, str] = {}
        self.refused = 0
        self._stop = Event()
        self._threads = [Thread(target=self._give, args=[devices]) for devices in EACH_ITS_OWN]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Give no new ones, and wait until those are taken that were begun."""
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def wait_for(self, *, taken: int = 0, refused: int = 0) -> float:
        """Return when so many more were taken or refused; gives the seconds it took."""
        taken, refused = taken + len(self.given), refused + self.refused
        return until(lambda: len(self.given) >= taken and self.refused >= refused)

    def _give(self, devices: Iterable[str]) -> None:
        for device_id in devices:
            if self._stop.wait(self._pause_s):
                return
            for server in islice(cycle(self._servers), 1_000):
                answer = send(server, device_id, key=device_id)
                if answer.status_code == 200:
                    self.given[device_id] = answer.headers["Location"].rpartition("/")[2]
                    break
                assert 503 == answer.status_code, answer.text
                assert int(answer.headers["Retry-After"]) >= 1
                self.refused += 1
                time.sleep(0.05)


@pytest.fixture
def doomed_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be killed."""
    server = PostgresServer(durable=True)
    yield server
    server.close()


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_postgresql_killed_under_load(
    start_server: Callable[..., RunningServer], doomed_postgres: PostgresServer, figure: Figure, kills: int
) -> None:
    """Killed while two servers take orders: each that was answered for is there, and heard once."""
    url = doomed_postgres.fresh_url()
    servers = [start_server(db=url) for _ in range(2)]
    for server in servers:
        server.expect_errors = True  # that keys and orders cannot be followed is said once
    listening = [Listening(server, chain(*EACH_ITS_OWN)) for server in servers]
    giving = Giving(servers, pause_s=0.01 * kills)
    for _ in range(kills):
        giving.wait_for(taken=10)
        doomed_postgres.stop(signal.SIGKILL)
        giving.wait_for(refused=4)
        doomed_postgres.start()
        figure("F9", "orders are taken again after PostgreSQL's restart (s)", giving.wait_for(taken=1))
    giving.stop()

    def rows(query: str) -> list[tuple[Any, ...]]:
        return doomed_postgres.execute(query, url)

    published = rows("SELECT sequence, command_id FROM command WHERE state = 'published' ORDER BY sequence")
    by_key = dict(rows("SELECT key, command_ids[1] FROM idempotency_key"))
    assert giving.given == by_key
    assert set(giving.given.values()) <= {command_id for _, command_id in published}
    assert rows("SELECT command_id FROM command ORDER BY 1") == rows(
        "SELECT command_id FROM audit WHERE action = 'order' AND result = 'accepted' ORDER BY 1"
    )
    sequences = [sequence for sequence, _ in published]
    until(lambda: all(one.heard and one.heard[-1] == sequences[-1] for one in listening))
    for one in listening:
        one.stop()
        assert sequences == one.heard
