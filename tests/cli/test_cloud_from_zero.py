"""From nothing to a report, by the commands of the page on Google Cloud, over local servers."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.pubsub_v1 import types

from heatfleet.messaging.pubsub.setup import Admin
from tests.bigquery_server.running import PROJECT, BigQueryServer
from tests.cli.conftest import Run
from tests.cloud.front import Front
from tests.pubsub_server import PubSubServer
from tests.serving import RunningServer, message


@pytest.mark.slow
def test_from_zero(
    run: Run,
    start_server: Callable[..., RunningServer],
    bigquery_server: BigQueryServer,
    pubsub_server: PubSubServer,
    dataset: str,
    tmp_path: Path,
) -> None:
    """`cloud init` makes all that a server needs: it takes readings and orders, and `doctor` finds nothing wrong."""
    with bigquery_server.address.client() as client:
        client.delete_dataset(dataset)
    with Front(bigquery_server.address.rest) as front:
        store = f"bigquery://{PROJECT}/{dataset}?rest={front.address}&grpc={bigquery_server.address.grpc}"
        bus = f"pubsub://{PROJECT}/orders-{dataset}?emulator={pubsub_server.address}"
        settings = {"HEATFLEET_STORE": store, "HEATFLEET_BUS": bus, "HEATFLEET_DB": f"sqlite:///{tmp_path}/orders.db"}
        made = run("cloud", "init", "--readings-topic", f"readings-{dataset}", **settings)
        server = start_server(store=store, bus=bus, db=settings["HEATFLEET_DB"])
        now_ms = time.time_ns() // 1_000_000
        for ago_ms in (600_000, 1000):
            power = {"code": "instant_power", "time": now_ms - ago_ms, "value": 1200}
            server.post(message("d1", power)).raise_for_status()
        rolled = run("rollup", **settings)
        report = server.client.get("/report", params={"format": "csv"})
        ordered = server.client.post("/send", json={"device_id": "d1", "switch": False})
        checks = json.loads(run("doctor", "--url", server.base_url, "--json", **settings).out)

    assert (made.code, rolled.code, report.status_code, ordered.status_code) == (0, 0, 200, 200), ordered.text
    assert "2 readings rolled up" in rolled.out
    energy_wh = sum(float(row["energy_wh"] or 0) for row in csv.DictReader(report.text.splitlines()))
    assert 199 <= energy_wh <= 205  # 1200 W for ten minutes, and a little until the rollup
    assert {check["name"]: check for check in checks if check["state"] == "fail"} == {}
    admin = Admin(PROJECT, pubsub_server.address)
    name = admin.subscription_path(f"orders-{dataset}-gateway")
    pulled = admin.subscriber.pull(types.PullRequest(subscription=name, max_messages=10))
    admin.close()
    assert [json.loads(one.message.data) for one in pulled.received_messages] == [{"devId": "d1", "switch": False}]
