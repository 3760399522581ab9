"""Readings from Pub/Sub into BigQuery: consumers beside each other on one dataset."""

import json
import time
from contextlib import closing
from pathlib import Path

from heatfleet.storage import open_store
from heatfleet.storage.base import DeviceFilter
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.setup import create_tables
from tests.bigquery_server.running import BigQueryServer
from tests.consuming import Consumer, Feed, wait_for
from tests.pubsub_server import PubSubServer
from tests.serving import message

DEVICES = 60


def test_consumers_share_a_subscription_and_a_dataset(
    pubsub_server: PubSubServer, bigquery_server: BigQueryServer, tmp_path: Path
) -> None:
    """Two at once, one of which is killed in the midst: each device that was published is heard of."""
    url = bigquery_server.address.url(bigquery_server.dataset())
    with query_client(Address.of(url)) as client:
        create_tables(client, Address.of(url))
    feed = Feed.at(pubsub_server, attempts=100)
    texts = [json.dumps(message(f"d{number}")).encode() for number in range(DEVICES)]
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    first, second = consumers = [Consumer(folder, feed, store=url) for folder in folders]
    try:
        for consumer in consumers:
            wait_for(consumer.is_consuming)
        for start in range(0, DEVICES, 10):
            feed.publish(texts[start : start + 10])
            time.sleep(0.1)
            if start == DEVICES // 2:
                first.kill()
                pubsub_server.expire(feed.subscription)
        second.drain()
        assert 0 == second.stop()
    finally:
        for consumer in consumers:
            consumer.kill()
    with closing(open_store(url, writable=False)) as store:
        now_ms = time.time_ns() // 1_000_000
        store.rollup(now_ms)
        found = store.devices(DeviceFilter(), now_ms=now_ms, limit=2 * DEVICES).devices

    assert {f"d{number}" for number in range(DEVICES)} == {device.device_id for device in found}
