"""The rounds that `single` and `batch` share: each target in turn, fresh, again and again, so that ratios are fair."""

import math
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.results import Result, Round, Unmeasurable, median, others_note, spread
from benchmarks.servers import Target, running
from benchmarks.usage import QUIET_CORES, Usage, peak_mib, wait_for_quiet
from benchmarks.wrk import MESSAGES, Kind, post

ROUNDS = 5
ROUND_S = 8
PATIENCE_S = 30
_HOUR_MS = 3_600_000


def post_in_rounds(
    targets: Sequence[Target], *, batches: bool, connections: int, quick: bool
) -> dict[str, list[Round]]:
    """Figures by target: one entry for each round, in which every target ran once.

    A measurement that others disturbed is made again, as long as there are spare ones.
    """
    rounds, seconds, spare = (1, 1, 0) if quick else (ROUNDS, ROUND_S, ROUNDS)
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(1, rounds + 1):
        for target in targets:
            path, kind = (target.batch_path, target.batch_kind) if batches else ("/message", "message")
            while True:
                wait_for_quiet(0 if quick else PATIENCE_S)
                one = _measure(target, path, kind, connections, seconds)
                rate, others = one["messages_per_s"], one["others_cores"]
                line = (
                    f"round {number} of {rounds}: {target.name} {rate:,.0f} messages/s, others took {others:.2f} cores"
                )
                print(line, file=sys.stderr, flush=True)
                if others < QUIET_CORES or not spare:
                    break
                spare -= 1
            found[target.name].append(one)
    return found


def as_result(title: str, rounds: Mapping[str, Sequence[Round]]) -> Result:
    """The table: medians over the rounds, and ratios taken within each round."""
    note = f"Rounds: {len(rounds['naive'])} of {rounds['naive'][0]['duration_s']:.0f} s, interleaved; medians."
    columns = (
        "server",
        "messages/s (least – most)",
        "× naive",
        "server CPU, µs a message",
        "p50, ms a request",
        "p99, ms",
        "requests failed",
        "peak MiB",
    )
    rows = [_row(name, of_target, rounds["naive"]) for name, of_target in rounds.items()]
    return Result(title, columns, rows, rounds, [note, others_note(rounds)])


def _row(name: str, of_target: Sequence[Round], of_naive: Sequence[Round]) -> list[str]:
    pairs = zip(of_target, of_naive, strict=True)
    ratio = statistics.median(one["messages_per_s"] / (naive["messages_per_s"] or math.nan) for one, naive in pairs)
    return [
        name,
        spread(of_target, "messages_per_s"),
        "–" if math.isnan(ratio) else f"{ratio:.1f}",
        f"{median(of_target, 'server_us'):.1f}",
        *(f"{wait:.1f}" if wait else "–" for wait in (median(of_target, "p50_ms"), median(of_target, "p99_ms"))),
        f"{sum(one['refused'] + one['broken'] + one['late'] for one in of_target):,.0f}",
        f"{median(of_target, 'peak_mib'):.0f}",
    ]


def _measure(target: Target, path: str, kind: Kind, connections: int, seconds: float) -> Round:
    """One round: a fresh server, a second to warm up, the load, and a count of what reached the disk."""
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        folder = Path(name)
        with running(target, folder) as server:
            now_ms = time.time_ns() // 1_000_000
            loads = [post(server.port, path, kind, connections=connections, seconds=1, first_ms=now_ms - 2 * _HOUR_MS)]
            before, generator_before_s = Usage.of(server.pid), _generator_s()
            loads.append(
                post(server.port, path, kind, connections=connections, seconds=seconds, first_ms=now_ms - _HOUR_MS)
            )
            used, generator_s = Usage.of(server.pid).since(before), _generator_s() - generator_before_s
            peak = peak_mib(server.pid)
        kept = target.kept(folder)
    answered = sum(load.good for load in loads) * MESSAGES[kind]
    if kept < answered:
        raise Unmeasurable(f"{target.name} said yes to {answered:,} messages and kept {kept:,}")
    messages = max(1, loads[1].good) * MESSAGES[kind]
    return {
        "messages_per_s": loads[1].good * MESSAGES[kind] / loads[1].duration_s,
        "server_us": (used.process_s + used.children_s) / messages * 1e6,
        "peak_mib": peak,
        "others_cores": max(0.0, used.machine_s - used.process_s - used.children_s - generator_s) / used.clock_s,
        "generator_cores": generator_s / used.clock_s,
        **asdict(loads[1]),
    }


def _generator_s() -> float:
    """CPU time of the children that were waited for: every wrk so far, and servers of earlier rounds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
