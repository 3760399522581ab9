"""Heatfleet beside servers people know, each in the form it likes best, interleaved in one run.

Watches that being durable costs no more than not being so: Heatfleet and InfluxDB answer after the disk has the
message, VictoriaMetrics before, and nginx does nothing but answer. `mixed` watches that a device is not kept waiting by
a gateway that posts thousands at once.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.options import Options
from benchmarks.peers.debian import influxdb, install, nginx, versions, victoria_metrics
from benchmarks.results import Result, Round, goal, median, others_note, ratio, spread
from benchmarks.rounds import as_result, expect_kept, in_rounds, post_in_rounds, rounds_note, under_load
from benchmarks.servers import Target, heatfleet, running
from benchmarks.wrk import Load, post

SINGLES, BATCHES = 64, 4
MIXED_SINGLES, MIXED_BATCHES = 16, 2
DURABILITY = (
    "VictoriaMetrics answers before the message is on disk, up to 5 s before; Heatfleet and InfluxDB answer after."
    " VictoriaMetrics and InfluxDB use all cores, Heatfleet and nginx (one worker) one."
)


def measure_single(options: Options) -> Result:
    """One message a POST."""
    install()
    targets = [heatfleet(), victoria_metrics(), influxdb(), nginx()]
    rounds = post_in_rounds(targets, options, batches=False, connections=SINGLES)
    ours = rounds["heatfleet"]
    notes = [
        DURABILITY,
        f"Peers: {versions('victoria-metrics', 'influxd', 'nginx', 'wrk')}.",
        goal("× VictoriaMetrics", ratio(ours, rounds["VictoriaMetrics"]), at_least=1.2),
        goal("× InfluxDB", ratio(ours, rounds["InfluxDB"]), at_least=4),
        goal("× nginx", ratio(ours, rounds["nginx"]), at_least=0.5),
        goal("server CPU, µs a message", median(ours, "server_us"), at_most=12, form=".1f"),
        goal("p99, ms", median(ours, "p99_ms"), at_most=5, form=".1f"),
    ]
    title = f"peers-single: one message per POST, {SINGLES} connections"
    return as_result(title, rounds, beside="VictoriaMetrics", notes=notes)


def measure_batch(options: Options) -> Result:
    """10,000 messages a POST."""
    install()
    targets = [heatfleet(), victoria_metrics(), influxdb()]
    rounds = post_in_rounds(targets, options, batches=True, connections=BATCHES)
    notes = [
        DURABILITY,
        f"Peers: {versions('victoria-metrics', 'influxd', 'wrk')}.",
        goal("× VictoriaMetrics", ratio(rounds["heatfleet"], rounds["VictoriaMetrics"]), at_least=1),
    ]
    title = f"peers-batch: 10,000 messages per POST, {BATCHES} connections"
    return as_result(title, rounds, beside="VictoriaMetrics", notes=notes)


def measure_mixed(options: Options) -> Result:
    """Devices beside gateways: how long the single message waits."""
    install()
    rounds = in_rounds([heatfleet(), victoria_metrics()], options, _mixed_round)
    notes = [
        rounds_note(rounds["heatfleet"]),
        DURABILITY,
        f"Peers: {versions('victoria-metrics', 'wrk')}.",
        goal("p99 of the singles, ms", median(rounds["heatfleet"], "p99_ms"), at_most=20, form=".1f"),
        others_note(rounds),
    ]
    return Result(
        title=f"peers-mixed: {MIXED_SINGLES} connections with one message per POST beside {MIXED_BATCHES} with 10,000",
        columns=(
            "server",
            "singles/s (least – most)",
            "their p50, ms",
            "their p99, ms (least – most)",
            "messages/s in batches (least – most)",
            "server CPU, s a million messages",
            "requests failed",
            "peak MiB",
        ),
        rows=[_row(name, of_target) for name, of_target in rounds.items()],
        rounds=rounds,
        notes=notes,
    )


def _mixed_round(target: Target, seconds: float) -> Round:
    """The single messages' own figures, and the batches' rate; the processor time is that of both."""
    single, batch = target.way(batches=False), target.way(batches=True)
    first_ms = time.time_ns() // 1_000_000 - 3_600_000
    batches: list[Load] = []
    with TemporaryDirectory(prefix="heatfleet-bench-") as name, running(target, Path(name)) as server:

        def both() -> Load:
            with ThreadPoolExecutor(1) as beside:
                # Earlier times, so that no message of the two is the same.
                running_batches = beside.submit(
                    post, server.port, batch, connections=MIXED_BATCHES, seconds=seconds, first_ms=first_ms - 7_200_000
                )
                singles = post(server.port, single, connections=MIXED_SINGLES, seconds=seconds, first_ms=first_ms)
                batches.append(running_batches.result())
            return singles

        one, singles = under_load(server, both, 1)
        in_batches = batches[0].good * batch.messages
        expect_kept(target, server, singles.good + in_batches)
    messages = singles.good + in_batches
    return {
        **one,
        "server_us": one["server_us"] * max(1, singles.good) / max(1, messages),
        "batch_messages_per_s": in_batches / batches[0].duration_s,
        "failed": sum(load.refused + load.broken + load.late for load in (singles, batches[0])),
    }


def _row(name: str, rounds: list[Round]) -> list[str]:
    return [
        name,
        spread(rounds, "messages_per_s"),
        f"{median(rounds, 'p50_ms'):.1f}",
        spread(rounds, "p99_ms", ".1f"),
        spread(rounds, "batch_messages_per_s"),
        f"{median(rounds, 'server_us'):.1f}",
        f"{sum(one['failed'] for one in rounds):,.0f}",
        f"{median(rounds, 'peak_mib'):.0f}",
    ]
