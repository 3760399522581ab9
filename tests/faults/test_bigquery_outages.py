"""A server whose readings go to BigQuery, which is away, silent or unwell for a while (B1, B3)."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from grpc import StatusCode

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from heatfleet.storage.bigquery.store import FRESH_S
from tests.arrivals import NOW_MS, Arrivals
from tests.bigquery_server.faults import AnswerLost, Fault, HttpError, Poison, Refused, Reset, Silence
from tests.bigquery_server.running import FaultyBigQuery
from tests.figures import Figure
from tests.oracle import defined, told
from tests.serving import RunningServer, message

SENDERS = 8
READINGS = 10
"""Of one message: more than the queue takes of all senders at once."""
QUEUE = 50
HEAL_S = 60.0

FAULTS = (
    Refused(),
    Silence(),
    Reset(),
    Refused(StatusCode.RESOURCE_EXHAUSTED, "quota exceeded"),
    AnswerLost(),
    None,  # nobody listens
)


class Impatient(RunningServer):
    """A server that gives an append less time than usual."""

    script = f"""
import os
os.environ["GRPC_VERBOSITY"] = "NONE"
from heatfleet.storage.bigquery import append
append.APPEND_S, append.ANSWER_S = 1.0, 0.4
{RunningServer.script}"""


class Sender(threading.Thread):
    """Sends one message after the other, each until it is accepted."""

    def __init__(self, server: RunningServer, name: str) -> None:
        super().__init__()
        self.sent: list[Reading] = []
        self.stored: list[Reading] = []
        self.refusals: list[httpx2.Response] = []
        self.longest_s = 0.0
        self.leave = threading.Event()
        self._server = server
        self._device_id = name

    def run(self) -> None:
        with httpx2.Client(base_url=self._server.base_url, timeout=HEAL_S, trust_env=False) as client:
            for number in itertools.count():
                first_ms = NOW_MS + number * READINGS
                values = [(first_ms + one, float(one)) for one in range(READINGS)]
                told = [{"code": "instant_power", "time": time_ms, "value": value} for time_ms, value in values]
                readings = [Reading(self._device_id, "p1", POWER, *one) for one in values]
                self.sent += readings
                while not self._post(client, message(self._device_id, *told)):
                    if self.leave.wait(0.1):
                        return
                self.stored += readings
                if self.leave.wait(0.02):
                    return

    def _post(self, client: httpx2.Client, body: dict[str, object]) -> bool:
        began_s = time.monotonic()
        answer = client.post("/message", json=body)
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        if answer.status_code != 200:
            self.refusals.append(answer)
        return answer.status_code == 200


Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(arrivals: Arrivals, faulty_bigquery: FaultyBigQuery, dataset: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server whose store is BigQuery, by a way on which things go wrong; orders and keys are in a file."""
    started: list[RunningServer] = []
    settings = {"store": faulty_bigquery.address.url(dataset), "db": f"sqlite:///{tmp_path}/ledger.db"}

    def start(kind: type[RunningServer] = RunningServer) -> RunningServer:
        started.append(kind(tmp_path, queue_readings_max=QUEUE, **settings))  # type: ignore[arg-type]
        started[-1].expect_errors = True
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.mark.parametrize(
    ("kind", "outage_s"),
    [
        pytest.param(Impatient, 1.0, marks=pytest.mark.slow),
        pytest.param(RunningServer, 20.0, marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
def test_outages_lose_nothing(
    serve: Serve,
    kind: type[RunningServer],
    arrivals: Arrivals,
    faulty_bigquery: FaultyBigQuery,
    dataset: str,
    outage_s: float,
    figure: Figure,
) -> None:
    """Whoever sends meanwhile is told so and sends again; all that was answered for is there, and nothing else."""
    server = serve(kind)
    senders = [Sender(server, f"s{number}") for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    heal_s, queue = [], 0.0
    try:
        for fault in FAULTS:
            wait_for_more(senders)
            go_wrong(faulty_bigquery, fault)
            until_s = time.monotonic() + outage_s
            while time.monotonic() < until_s:
                queue = max(queue, server.metric("heatfleet_queue_readings"))
                time.sleep(0.05)
            go_well(faulty_bigquery, fault)
            heal_s.append(wait_for_more(senders))
    finally:
        for sender in senders:
            sender.leave.set()
        for sender in senders:
            sender.join()

    sent, stored = ({one for sender in senders for one in getattr(sender, kind)} for kind in ("sent", "stored"))
    refusals = [one for sender in senders for one in sender.refusals]
    there = arrivals.readings()
    assert stored <= set(there) <= sent
    assert {503} == {one.status_code for one in refusals}
    assert all(one.headers["retry-after"].isdigit() for one in refusals)
    assert queue <= QUEUE
    assert len(stored) == server.metric("heatfleet_readings_total")
    expect_counted_once(faulty_bigquery.address.url(dataset), set(there))
    assert 200 == server.client.get("/readyz").status_code
    longest_s = max(sender.longest_s for sender in senders)
    figure("B1", f"outages of {outage_s:.0f} s each", len(FAULTS))
    figure("B1", "readings answered for; of them lost", f"{len(stored):,}; {len(stored - set(there))}")
    figure("B1", "readings there that were never sent", len(set(there) - sent))
    figure("B1", "rows repeated, which count once", len(there) - len(set(there)))
    figure("B1", "requests refused, each with Retry-After", len(refusals))
    figure("B1", "all senders are served again after (s, at most)", max(heal_s))
    figure("B1", "longest wait for an answer (s)", longest_s)


def test_the_server_says_what_is_wrong(serve: Serve, faulty_bigquery: FaultyBigQuery) -> None:
    """What cannot pass by itself is told on /readyz and once in the log, until somebody mends it."""
    server = serve()
    faulty_bigquery.appends.switch.set(Refused(StatusCode.PERMISSION_DENIED, "no"))
    refused = server.post(message("d1"))
    ready = server.client.get("/readyz")

    assert 503 == refused.status_code
    assert int(refused.headers["retry-after"]) >= 60
    assert 503 == ready.status_code
    assert "roles/bigquery.dataEditor" in ready.text
    [told] = [line for line in server.log() if line["level"] == "error"]
    assert "roles/bigquery.dataEditor" in told["reason"]

    faulty_bigquery.appends.switch.clear()

    assert 200 == server.post(message("d1")).status_code
    assert 200 == server.client.get("/readyz").status_code


@pytest.mark.parametrize("fault", [Silence(), HttpError()])
def test_a_probe_does_not_wait_for_bigquery(fault: Fault, serve: Serve, faulty_bigquery: FaultyBigQuery) -> None:
    """However long queries go unanswered, /readyz says so within seconds, and readings are taken all the while."""
    server = serve()
    faulty_bigquery.rest.switch.set(fault)
    time.sleep(FRESH_S)
    began_s = time.monotonic()

    ready = server.client.get("/readyz")

    assert 503 == ready.status_code
    assert time.monotonic() - began_s < 15
    assert "BigQuery" in ready.text
    assert 200 == server.post(message("d1")).status_code


def test_many_who_wait_for_bigquery_hold_up_nobody_else(serve: Serve, faulty_bigquery: FaultyBigQuery) -> None:
    """Neither orders, which do without what BigQuery knows of their devices, nor probes behind questions."""
    server = serve()
    faulty_bigquery.rest.switch.set(Silence())
    with ThreadPoolExecutor(75) as callers:
        began_s = time.monotonic()
        orders = [
            callers.submit(server.client.post, "/send", json={"device_id": f"d{number}", "switch": True})
            for number in range(30)
        ]
        assert {200} == {one.result().status_code for one in orders}
        assert time.monotonic() - began_s < 15

        for number in range(45):
            callers.submit(server.client.get, f"/devices/d{number}")
        while faulty_bigquery.rest.switch.met < 40:
            time.sleep(0.01)
        until_s = time.monotonic() + 15
        while server.client.get("/readyz").status_code != 503:  # what it was told some seconds ago it tells again
            assert time.monotonic() < until_s
            time.sleep(0.1)
        assert time.monotonic() < until_s
        faulty_bigquery.rest.switch.clear()


def test_a_poison_message_is_accepted_and_set_aside(
    serve: Serve, arrivals: Arrivals, faulty_bigquery: FaultyBigQuery
) -> None:
    """The others of its batch arrive, it lies in the dead letters, and a metric tells of it."""
    server = serve()
    faulty_bigquery.appends.switch.set(Poison("d1"), where="/tables/arrival/")

    answer = server.post([message(f"d{number}") for number in range(3)])

    assert 200 == answer.status_code
    assert ["d0", "d2"] == sorted(one.device_id for one in arrivals.readings())
    assert ["the row is bad"] == [letter.reason for letter in arrivals.letters()]
    assert 1 == server.metric("heatfleet_readings_set_aside")


def test_leaving_does_not_wait_for_bigquery(serve: Serve, faulty_bigquery: FaultyBigQuery) -> None:
    """While BigQuery is silent a server that is told to leave does, soon; who waits is told 503."""
    server = serve(Impatient)
    faulty_bigquery.appends.switch.set(Silence())
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(server.post(message("d1")).status_code))
    sender.start()
    while not faulty_bigquery.appends.switch.met:
        time.sleep(0.01)

    server.stop()
    sender.join()

    assert [503] == answers


def expect_counted_once(url: str, readings: set[Reading]) -> None:
    """The figures are those of these readings, each once, however often it arrived."""
    now_ms = time.time_ns() // 1_000_000
    with closing(open_store(url)) as store:
        store.rollup(now_ms)

        assert defined(readings, now_ms) == told(store.figures())


def wait_for_more(senders: list[Sender]) -> float:
    """Wait until each has stored two more messages; how long that took (s)."""
    began_s = time.monotonic()
    before = [len(sender.stored) for sender in senders]
    while any(len(sender.stored) < 2 * READINGS + had for sender, had in zip(senders, before, strict=True)):
        assert time.monotonic() - began_s < HEAL_S
        assert all(sender.is_alive() for sender in senders)
        time.sleep(0.01)
    return time.monotonic() - began_s


def go_wrong(bigquery: FaultyBigQuery, fault: Fault | None) -> None:
    """Begin an outage."""
    if fault is None:
        bigquery.appends.down()
    else:
        bigquery.appends.switch.set(fault)


def go_well(bigquery: FaultyBigQuery, fault: Fault | None) -> None:
    """End it."""
    if fault is None:
        bigquery.appends.up()
    else:
        bigquery.appends.switch.clear()
