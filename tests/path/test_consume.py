"""Readings pulled from Pub/Sub by ``heatfleet consume``: what is acknowledged is in the store, come what may."""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.simulator import FaultOptions, SimulationOptions
from heatfleet.storage import open_store
from heatfleet.storage.base import DeviceFilter
from tests.consuming import Consumer, Feed, wait_for
from tests.path.conftest import live
from tests.path.expected import expected_report, milliseconds
from tests.pubsub_server import PubSubServer
from tests.serving import RunningServer, blocked_journal, message, ndjson

BAD = message("bad", {"code": "instant_power", "time": 1_732_631_573_782, "value": -1})
StartConsumer = Callable[..., Consumer]


@pytest.fixture
def start_consumer(tmp_path: Path) -> Iterator[StartConsumer]:
    """Starts consumers of this test's feeds, over one store, one after the other."""
    started: list[Consumer] = []

    def start(feed: Feed, *words: str, **settings: object) -> Consumer:
        started.append(Consumer(tmp_path, feed, *words, **settings))
        return started[-1]

    yield start
    for consumer in started:
        consumer.kill()


def as_json(*messages: object) -> list[bytes]:
    return [json.dumps(one).encode() for one in messages]


def known(folder: Path) -> set[str]:
    """The devices in the store that were heard of, after a rollup."""
    now_ms = time.time_ns() // 1_000_000
    with closing(open_store(f"sqlite:///{folder / 'heatfleet.db'}", writable=False)) as store:
        store.rollup(now_ms)
        return {device.device_id for device in store.devices(DeviceFilter(), now_ms=now_ms).devices}


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_what_is_acknowledged_survives_kills(
    pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path, kills: int
) -> None:
    """Killed again and again in the midst: nothing is lost, what came twice counts once, the report is exact."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    options = SimulationOptions(
        20, milliseconds("2026-10-24T00:00"), milliseconds("2026-10-26T00:00"), faults=FaultOptions.all(), seed=7
    )
    fleet = live(options)
    feed = Feed.at(pubsub_server, attempts=100)
    lines = list(fleet.lines)
    texts = []
    while lines:  # single messages and batches of all sizes
        size = dice.choice([1, 1, 1, 5, 100])
        texts.append(b"".join(lines[:size]))
        del lines[:size]
    pieces = [texts[place :: kills + 1] for place in range(kills + 1)]
    consumer = start_consumer(feed)
    for piece in pieces[:kills]:
        wait_for(consumer.is_consuming)
        before = feed.waiting()
        feed.publish(piece)
        wait_for(lambda before=before, piece=piece: feed.waiting() < before + len(piece))  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.1))
        consumer.kill()
        pubsub_server.expire(feed.subscription)
        consumer.log_path.unlink()
        consumer.start()
    feed.publish(pieces[kills])
    consumer.drain()
    assert 0 == consumer.stop(), f"seed {seed}"

    server = RunningServer(tmp_path)
    server.rollup()
    report = server.client.get("/report").json()
    server.close()
    assert expected_report(fleet.readings, milliseconds("2026-11-01")) == report, f"seed {seed}"


def test_it_leaves_in_order(pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path) -> None:
    """SIGTERM: what was received is stored and acknowledged or given back, and the exit code is 0."""
    feed = Feed.at(pubsub_server)
    feed.publish(as_json(*(message(f"d{number}") for number in range(3000))))
    consumer = start_consumer(feed)
    wait_for(lambda: feed.waiting() < 3000)

    assert 0 == consumer.stop()
    [last] = consumer.log("stopped")
    assert 3000 - feed.waiting() <= last["messages"]
    with closing(open_store(f"sqlite:///{tmp_path / 'heatfleet.db'}", writable=False)) as store:
        assert last["readings"] == store.rollup(time.time_ns() // 1_000_000).readings

    pubsub_server.expire(feed.subscription)  # of what was on its way to us
    consumer.log_path.unlink()
    second = start_consumer(feed)
    wait_for(second.is_consuming)
    second.drain()
    assert 0 == second.stop(signal.SIGINT)


def test_a_store_that_is_blocked_is_waited_for(
    pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    """Nothing is acknowledged, nothing is given back, so nothing becomes a dead letter; and nothing spins meanwhile."""
    feed = Feed.at(pubsub_server)
    consumer = start_consumer(feed)
    wait_for(consumer.is_consuming)
    with blocked_journal(tmp_path / "heatfleet.db"):
        feed.publish(as_json(*(message(f"d{number}") for number in range(200))))
        wait_for(lambda: bool(consumer.log("readings cannot be stored")))
        time.sleep(2)

        assert 200 == feed.waiting()
        assert 1 == pubsub_server.attempts(feed.subscription)
        assert not feed.buried()
        assert 1 == len(consumer.log("readings cannot be stored")), "a line when it begins, none for each try"
    consumer.drain()
    assert not feed.buried()
    with blocked_journal(tmp_path / "heatfleet.db"):
        feed.publish(as_json(message("d1")))
        wait_for(lambda: len(consumer.log("readings cannot be stored")) > 1)
        consumer.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)

        assert consumer.stop() in (0, 128 + signal.SIGTERM), "told twice it leaves at once, whatever hangs"
    assert 1 == feed.waiting()


def test_bad_messages_become_dead_letters(
    pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    """After their attempts, as they were published; the good messages of the same batch are stored."""
    feed = Feed.at(pubsub_server)
    mixed = ndjson(message("good-of-mixed"), BAD)
    wrong = [b"nonsense", *as_json(BAD), mixed, b"\xff", b"[" * 100_000, b" "]
    feed.publish([*as_json(message("good")), *wrong])
    consumer = start_consumer(feed)
    consumer.drain()

    assert sorted(wrong) == sorted(feed.buried())
    assert 0 == consumer.stop()
    refused = consumer.log("stopped")[0]["refused"]
    assert {"broken-json", "bad-value"} == set(refused)
    assert 2 * 5 == refused["bad-value"]
    assert {"good", "good-of-mixed"} == known(tmp_path)
    assert "nonsense" not in consumer.log_path.read_text()


def test_without_dead_letters_bad_messages_go_to_a_file(
    pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    """It does not start without one of both; into the file go the message and what is wrong with it."""
    feed = Feed.at(pubsub_server, attempts=None)
    consumer = start_consumer(feed)
    assert 78 == consumer.process.wait(60)
    assert "dead-letter topic" in consumer.log_path.read_text()

    feed.publish([b"nonsense", ndjson(message("good"), BAD), *as_json(message("other"))])
    consumer = start_consumer(feed, "--refused-to", "refused.ndjson")
    consumer.drain()
    assert 0 == consumer.stop()

    lines = [json.loads(line) for line in (tmp_path / "refused.ndjson").read_text().splitlines()]
    problems = sorted((problem["index"], problem["problem"]) for line in lines for problem in line["problems"])
    assert [(-1, "broken-json"), (1, "bad-value")] == problems
    assert all(line["message_id"] and line["published_at"].endswith("Z") for line in lines)
    assert "bm9uc2Vuc2U=" in {line["data"] for line in lines}
    assert {"good", "other"} == known(tmp_path)


def test_it_needs_pubsub_to_begin(pubsub_server: PubSubServer, start_consumer: StartConsumer) -> None:
    """While Pub/Sub is away it ends with 75, for whoever starts it to try again."""
    feed = Feed.at(pubsub_server)
    pubsub_server.shut()
    consumer = start_consumer(feed)

    assert 75 == consumer.process.wait(60)
    assert "try again later" in consumer.log_path.read_text()


def test_where_it_may_not_look_it_finds_out(
    pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    """Without the permission to look for dead letters it starts, and ends before a bad message is lost or spins."""
    pubsub_server.fault("PERMISSION_DENIED", method="GetSubscription")
    feed = Feed.at(pubsub_server, attempts=None)
    feed.publish([*as_json(message("good")), b"nonsense"])
    consumer = start_consumer(feed)

    assert 78 == consumer.process.wait(60)
    assert "dead-letter topic" in consumer.log_path.read_text()
    assert 1 == feed.waiting()


def test_pubsub_may_go_and_come_again(pubsub_server: PubSubServer, start_consumer: StartConsumer) -> None:
    """Broken streams, lost acknowledgements and a server that is down: in the end all is stored and acknowledged."""
    feed = Feed.at(pubsub_server, attempts=100)
    consumer = start_consumer(feed)
    wait_for(consumer.is_consuming)
    for number, trouble in enumerate(
        (
            pubsub_server.reset,
            lambda: pubsub_server.fault("UNAVAILABLE", method="StreamingPull", times=3),
            lambda: pubsub_server.fault("UNAVAILABLE", method="Acknowledge", times=4),
            lambda: pubsub_server.fault("INTERNAL", method="Acknowledge", times=2, done=True),
            pubsub_server.shut,
        )
    ):
        trouble()
        pubsub_server.open()
        feed.publish(as_json(*(message(f"d{number}-{one}") for one in range(100))))
        time.sleep(0.2)
    pubsub_server.clear()
    pubsub_server.expire(feed.subscription)
    consumer.drain()

    assert 0 == consumer.stop()
    assert 500 <= consumer.log("stopped")[0]["messages"] <= 1000


def test_a_message_may_be_as_long_as_a_batch(pubsub_server: PubSubServer, start_consumer: StartConsumer) -> None:
    """8 MiB at once: more than gRPC takes by itself; a longer one is no good and becomes a dead letter."""
    feed = Feed.at(pubsub_server)
    batch = (b"[" + as_json(message("d1"))[0] + b"]").ljust(8 * 1024 * 1024)
    consumer = start_consumer(feed)
    for text in (batch, batch + b" "):
        feed.publish([text])
    consumer.drain()

    assert [len(batch) + 1] == list(map(len, feed.buried()))
    assert 0 == consumer.stop()
    assert {"too-large": 5} == consumer.log("stopped")[0]["refused"]


def test_what_does_not_fit_is_told(pubsub_server: PubSubServer, start_consumer: StartConsumer, tmp_path: Path) -> None:
    """A SQLite store has one writer, so beside a server it does not start; nor without a subscription. Exit code 78."""
    feed = Feed.at(pubsub_server)
    feed.publish(as_json(message("d1")))
    server = RunningServer(tmp_path)
    consumer = start_consumer(feed)

    assert 78 == consumer.process.wait(60)
    assert "another server" in consumer.log_path.read_text()
    assert 1 == feed.waiting()
    server.close()

    consumer.log_path.unlink()
    nobody = start_consumer(feed, "--subscription", f"{feed.subscription}-of-nobody")
    assert 78 == nobody.process.wait(60)
    assert "there is no such Pub/Sub subscription" in nobody.log_path.read_text()
