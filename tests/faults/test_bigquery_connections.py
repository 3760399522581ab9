"""The connection to BigQuery: it ends when it is told to, and those before it leave nothing behind."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from grpc import StatusCode

from heatfleet.errors import StoreUnavailable
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.bigquery.connect import write_client
from tests.arrivals import Arrivals, append, appending, some
from tests.bigquery_server.faults import AnsweredWithError, AnswerLost, Fault, Refused, Reset, Silence, Switch
from tests.bigquery_server.running import BigQueryServer, FaultyBigQuery
from tests.figures import Figure

CLOSE_S = 10.0
"""Within this a connection ends, whatever the server does; in fact at once."""
APPEND_AND_LOOK = """
import json, os, sys, threading
from benchmarks.usage import resident_mib
from tests.arrivals import append, appending, some
from tests.bigquery_server.running import Address

def look():
    seen = {"threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}
    print(json.dumps(seen | {"memory_mib": resident_mib(os.getpid())}))

rest, grpc, dataset, count = sys.argv[1:]
with appending(Address(rest, grpc), dataset) as appender:
    for _ in range(20):
        append(appender, some(1))
    look()
    for _ in range(int(count)):
        append(appender, some(1))
    look()
"""


class EveryOther(Switch):
    """Every other call meets a fault, of one kind after the other."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self._faults = itertools.cycle([one for fault in faults for one in (fault, None)])

    def take(self, subject: str) -> Fault | None:
        return next(self._faults)


def test_closing_ends_what_hangs(appender: Appender, faulty_bigquery: FaultyBigQuery) -> None:
    """An append that nobody answers ends soon after ``close``, and every later one is refused."""
    faulty_bigquery.appends.switch.set(Silence())
    told: list[str] = []

    def append_one() -> None:
        with pytest.raises(StoreUnavailable) as refusal:
            append(appender, some(1))
        told.append(str(refusal.value).partition(";")[0])

    thread = threading.Thread(target=append_one)
    thread.start()
    while not faulty_bigquery.appends.switch.met:
        time.sleep(0.01)
    began_s = time.monotonic()
    appender.close()
    thread.join(CLOSE_S)

    assert not thread.is_alive()
    assert time.monotonic() - began_s < CLOSE_S
    append_one()
    assert ["the server is stopping"] * 2 == told


def test_closing_does_not_wait_for_a_server_that_stands_still(
    arrivals: Arrivals, bigquery_server: BigQueryServer, dataset: str
) -> None:
    """With an open connection to a process that does nothing any more, ``close`` ends."""
    with appending(bigquery_server.address, dataset) as appender:
        append(appender, some(1))
        server = bigquery_server._process
        assert server is not None
        server.send_signal(signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            appender.close()

            assert time.monotonic() - began_s < CLOSE_S
        finally:
            server.send_signal(signal.SIGCONT)
    assert some(1) == arrivals.readings()


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Google's credentials the server goes on, and says what is missing."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    with (
        closing(Appender(partial(write_client, Address("project-1", "fleet")), "")) as appender,
        pytest.raises(StoreUnavailable, match="GOOGLE_APPLICATION_CREDENTIALS"),
    ):
        append(appender, some(1))


def test_googles_own_server_is_meant_without_a_local_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the address of the API, with TLS; nobody is called until something is appended."""
    key = tmp_path / "key.json"
    words = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "t"}
    key.write_text(json.dumps(words), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))

    with write_client(Address("project-1", "fleet")) as client:
        assert "bigquerystorage.googleapis.com:443" == client.transport.host


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_connections_leave_nothing_behind(
    arrivals: Arrivals, faulty_bigquery: FaultyBigQuery, dataset: str, count: int, figure: Figure
) -> None:
    """After so many that broke, in every way, a process has as many threads and open files as before."""
    faulty_bigquery.appends.switch = EveryOther(
        Refused(), AnsweredWithError(StatusCode.ABORTED), AnswerLost(StatusCode.INTERNAL), Reset()
    )
    place = faulty_bigquery.address
    command = [sys.executable, "-c", APPEND_AND_LOOK, place.rest, place.grpc, dataset, str(count)]

    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=500, check=True)
    before, after = map(json.loads, [line for line in run.stdout.splitlines() if line.startswith("{")])

    assert set(some(1)) == set(arrivals.readings())
    assert after["threads"] <= before["threads"]
    assert after["files"] <= before["files"]
    grown_kib = (after["memory_mib"] - before["memory_mib"]) * 1024
    figure("B2", f"memory that each of {count} broken connections left behind (KiB)", grown_kib / count)
    assert grown_kib < 10_000 + 10 * count
