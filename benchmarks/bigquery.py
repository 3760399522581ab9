"""What a message costs the server when readings go to BigQuery, from `POST /message` to the acknowledged append.

Watches the way from packed readings to Arrow rows and through Google's gRPC client, which is all that differs. The
other end is a sink on this machine that says yes at once: commits are then as small, and appends as many, as they can
be. In a second row the answer takes as long as one from afar might.
"""

import sys
import time
from collections.abc import Sequence

from benchmarks.append_sink import AppendSink, append_sink
from benchmarks.options import Options
from benchmarks.results import Result, Round, goal, median, ratio
from benchmarks.rounds import as_result, in_rounds, measure_post
from benchmarks.servers import BATCH, Target, heatfleet
from benchmarks.wrk import Way

FAR_S = 0.03
SQLITE, NEAR, FAR = "SQLite", "BigQuery, at once", "BigQuery, after 30 ms"

# All but the appends is a store in SQLite, which has nothing to do meanwhile.
_SERVE_INTO_BIGQUERY = """
import sys
from functools import partial
from heatfleet import wiring
from heatfleet.config import load_settings
from heatfleet.server import run
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.append import Appender
from heatfleet.storage.bigquery.connect import write_client

def open_store(*values, **named):
    store = kept(*values, **named)
    store.append = appender.append
    return store

place = f"127.0.0.1:{sys.argv[1]}"
connect = partial(write_client, Address("a-project", "fleet", place, place))
appender = Appender(connect, "projects/a-project/datasets/fleet")
kept, wiring.open_store = wiring.open_store, open_store
run(load_settings().model_copy(update={"rollup_every_s": 0}))
"""


def measure_single(options: Options) -> Result:
    """One message a POST."""
    return _measure(options, "bigquery-single: one message per POST, 64 connections", batches=False, connections=64)


def measure_batch(options: Options) -> Result:
    """Many messages a POST."""
    return _measure(options, "bigquery-batch: 10,000 messages per POST, 4 connections", batches=True, connections=4)


def _measure(options: Options, title: str, *, batches: bool, connections: int) -> Result:
    with append_sink() as sink:

        def one_round(target: Target, seconds: float) -> Round:
            sink.clear(delay_s=FAR_S if target.name == FAR else 0.0)
            began_s, began_cpu_s = time.monotonic(), time.process_time()
            one = measure_post(target, target.way(batches=batches), connections, seconds)
            sink_cores = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
            seen = {
                "rows_a_request": sink.rows / max(1, sink.requests),
                "bytes_a_reading": sink.size_bytes / max(1, sink.rows),
                "others_cores": max(0.0, one["others_cores"] - sink_cores),
            }
            return {**one, **seen}

        targets = [heatfleet(name=SQLITE), _into(sink, NEAR), _into(sink, FAR)]
        rounds = in_rounds(targets, options, one_round)
    times = ratio(rounds[NEAR], rounds[SQLITE], "server_us")
    notes = [*(_note(name, rounds[name]) for name in (NEAR, FAR)), goal("CPU a message × SQLite's", times, at_most=1.5)]
    return as_result(title, rounds, beside=SQLITE, notes=notes)


def _note(name: str, rounds: Sequence[Round]) -> str:
    """What went over the wire; an id of a device has 22 characters here, one of a product 16."""
    rows, size_bytes = median(rounds, "rows_a_request"), median(rounds, "bytes_a_reading")
    return f"{name}: {rows:,.0f} readings a request, {size_bytes:.0f} bytes a reading on the wire."


def _into(sink: AppendSink, name: str) -> Target:
    """`heatfleet serve` whose readings go there."""
    return Target(
        name=name,
        command=lambda _folder, _port: (sys.executable, "-c", _SERVE_INTO_BIGQUERY, str(sink.port)),
        ready_path="/readyz",
        single=Way("/message", "json", 1),
        batch=Way("/message", "ndjson", BATCH),
        kept=lambda _: sink.rows,
    )
