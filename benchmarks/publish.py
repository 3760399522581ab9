"""What an order takes on its way to Pub/Sub: to switch a fleet of two million, this is the greatest part of the work.

Watches the processor time between the ledger and the network. Each way publishes the same orders, each for a device of
its own, to the same server.
"""

import resource
import sys
import time
from collections.abc import Sequence

from benchmarks.options import Options
from benchmarks.publishers import WAYS, Publish
from benchmarks.results import Result, Round, Unmeasurable, goal, median, ratio, spread
from benchmarks.usage import wait_for_quiet
from heatfleet.domain.commands import Command
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import Names, new_topic

ROUNDS = 3
ORDERS = 20_000
FLEET = 2_000_000
GOAL_S = 20
TTL_MS = 300_000
BESIDE = "Google's PublisherClient"
COLUMNS = (
    "way",
    "orders/s (least – most)",
    f"× {BESIDE}",
    "CPU, µs an order (least – most)",
    f"CPU, s for {FLEET:,} orders",
)


def measure(options: Options) -> Result:
    """Each way in turn, again and again."""
    count = options.size(None, ORDERS, 1_000)
    rounds: dict[str, list[Round]] = {name: [] for name in WAYS}
    with PubSubServer() as server:
        server.keep_nothing()
        names = new_topic(server.address, subscribed=False)
        _one_round(server, names, WAYS["heatfleet"], 1)  # what is imported and connected first is nobody's cost
        for _ in range(1 if options.quick else ROUNDS):
            for name, publish in WAYS.items():
                wait_for_quiet(options.patience_s)
                rounds[name].append(_one_round(server, names, publish, count))
                print(f"{name}: {rounds[name][-1]['cpu_us']:.0f} µs an order", file=sys.stderr, flush=True)
    return Result(
        title=f"publish: orders for {count:,} devices to Pub/Sub",
        columns=COLUMNS,
        rows=[_row(name, of_way, rounds[BESIDE]) for name, of_way in rounds.items()],
        rounds=rounds,
        notes=[
            f"Rounds: {len(rounds[BESIDE])}, interleaved; medians. The last column is reckoned from {count:,} orders.",
            "The first three keep the order of each device, which takes a request for each: Pub/Sub's rule.",
            goal(f"CPU s for {FLEET:,} orders", _fleet_s(rounds["heatfleet"]), at_most=GOAL_S, form=".0f"),
        ],
    )


def _one_round(server: PubSubServer, names: Names, publish: Publish, count: int) -> Round:
    now_ms = time.time_ns() // 1_000_000
    orders = [
        Command(
            command_id=f"0f8b6a52-0000-4000-8000-{number:012}",
            device_id=f"device-{number:07}",
            product_id=None,
            switch=True,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + TTL_MS,
        )
        for number in range(count)
    ]
    before = server.taken()
    began_s, cpu_s = time.perf_counter(), _cpu_s()
    publish(names.address, names.topic, orders)
    seconds, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    if server.taken() - before != count:
        raise Unmeasurable(f"{server.taken() - before} of {count} orders arrived")
    return {"messages_per_s": count / seconds, "cpu_us": cpu_s / count * 1e6}


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _fleet_s(rounds: Sequence[Round]) -> float:
    return median(rounds, "cpu_us") * FLEET / 1e6


def _row(name: str, rounds: Sequence[Round], base: Sequence[Round]) -> list[str]:
    return [
        name,
        spread(rounds, "messages_per_s"),
        f"{ratio(rounds, base):.2f}",
        spread(rounds, "cpu_us"),
        f"{_fleet_s(rounds):,.0f}",
    ]
