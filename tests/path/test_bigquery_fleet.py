"""A simulated fleet posted into two servers on one BigQuery: both tell what can be known, whoever makes the figures."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.cloud import bigquery

from heatfleet.simulator import FaultOptions, SimulationOptions
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.setup import create_tables
from tests.bigquery_server.running import BigQueryServer
from tests.path.conftest import WholeServer, live, wait_until
from tests.path.expected import expected_report, milliseconds, readings_in

PATIENCE_S = 120


@pytest.fixture
def url(bigquery_server: BigQueryServer) -> str:
    """The address of an empty store."""
    address = bigquery_server.address.url(bigquery_server.dataset())
    with query_client(Address.of(address)) as client:
        create_tables(client, Address.of(address))
    return address


def ask(client: bigquery.Client, sql: str) -> list[tuple[object, ...]]:
    return [row.values() for row in client.query_and_wait(sql)]


def kill_in_a_rollup(server: WholeServer, client: bigquery.Client) -> None:
    """End the rollup beside the server, without a word, at a moment when it has the lease."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        [(holder,)] = ask(client, "SELECT lease_holder FROM head")
        if not holder:
            continue
        for pid in server.rollup_pids():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        if ask(client, "SELECT lease_holder FROM head") == [(holder,)]:  # it had not given it back yet
            return
    raise AssertionError("the rollup never had the lease")


def test_two_servers_on_one_bigquery_tell_the_same(
    url: str, tmp_path: Path, start_server_in: Callable[..., WholeServer]
) -> None:
    """Posted to either, rolled up by either, one killed in the midst: both reports are the definition's."""
    start_ms, end_ms = milliseconds("2026-10-24T20:00"), milliseconds("2026-10-25T04:00")
    said = live(SimulationOptions(6, start_ms, end_ms, faults=FaultOptions.all(), seed=7, batch_size=50))
    seed = 7
    dice = random.Random(seed)
    lines = dice.sample(said.lines, len(said.lines))
    servers = [start_server_in(tmp_path / "one", store=url, rollup_every_s=3)]
    with query_client(Address.of(url)) as client:
        half = len(lines) // 2
        for start in range(0, half, 100):
            post(servers[0], lines[start : min(half, start + 100)])
        servers[0].expect_errors = True  # it says that its rollup died
        kill_in_a_rollup(servers[0], client)
        servers.append(start_server_in(tmp_path / "other", store=url, rollup_every_s=3))
        for start in range(half, len(lines), 100):
            post(dice.choice(servers), lines[start : start + 100])
        ask(client, "UPDATE head SET lease_until = TIMESTAMP_MILLIS(0) WHERE TRUE")  # its time runs out
        expected = expected_report(readings_in(lines), milliseconds("2026-11-01"))
        for server in servers:
            wait_until(lambda server=server: server.client.get("/report").json() == expected, PATIENCE_S)  # type: ignore[misc]
        detail = {"detail": "true"}
        wait_until(lambda: len({one.client.get("/report", params=detail).content for one in servers}) == 1, PATIENCE_S)

        assert [(1,)] == ask(client, "SELECT COUNT(*) FROM head")


def post(server: WholeServer, lines: list[bytes]) -> None:
    assert server.post(b"".join(lines), Content_Type="application/x-ndjson").json()["status"] == "ok"
