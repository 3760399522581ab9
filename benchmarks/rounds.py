"""The rounds that posting benchmarks share: each target in turn, fresh, again and again, so that ratios are fair."""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.options import Options
from benchmarks.results import Result, Round, Unmeasurable, median, others_note, ratio, spread
from benchmarks.servers import Server, Target, running
from benchmarks.usage import QUIET_CORES, Usage, peak_mib, wait_for_quiet
from benchmarks.wrk import Load, Way, post

ROUNDS = 5
ROUND_S = 5
SPARE_ROUNDS = 3
_HOUR_MS = 3_600_000

OneRound = Callable[[Target, float], Round]


def post_in_rounds(
    targets: Sequence[Target], options: Options, *, batches: bool, connections: int
) -> dict[str, list[Round]]:
    """Figures by target: one entry for each round, in which every target ran once."""

    def one_round(target: Target, seconds: float) -> Round:
        return measure_post(target, target.way(batches=batches), connections, seconds)

    return in_rounds(targets, options, one_round)


def in_rounds(targets: Sequence[Target], options: Options, one_round: OneRound) -> dict[str, list[Round]]:
    """The same for any measurement of one target; one that others disturbed is made again, a few times."""
    rounds, seconds, spare = (1, 1, 0) if options.quick else (ROUNDS, ROUND_S, SPARE_ROUNDS)
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(1, rounds + 1):
        for target in targets:
            while True:
                wait_for_quiet(options.patience_s)
                one = one_round(target, seconds)
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


def as_result(title: str, rounds: Mapping[str, Sequence[Round]], *, beside: str, notes: Sequence[str] = ()) -> Result:
    """The table: medians over the rounds, and ratios to the server ``beside`` taken within each round."""
    base = rounds[beside]
    columns = (
        "server",
        "messages/s (least – most)",
        f"× {beside}",
        "server CPU, s a million messages",
        "p50, ms a request",
        "p99, ms",
        "requests failed",
        "peak MiB",
    )
    rows = [_row(name, of_target, base) for name, of_target in rounds.items()]
    return Result(title, columns, rows, rounds, [rounds_note(base), *notes, others_note(rounds)])


def rounds_note(rounds: Sequence[Round]) -> str:
    """How the medians came about."""
    return f"Rounds: {len(rounds)} of {rounds[0]['duration_s']:.0f} s, interleaved; medians."


def _row(name: str, of_target: Sequence[Round], of_base: Sequence[Round]) -> list[str]:
    times = ratio(of_target, of_base)
    return [
        name,
        spread(of_target, "messages_per_s"),
        f"{times:.2f}" if times == times else "–",  # noqa: PLR0124  # not a number: the other one did nothing
        f"{median(of_target, 'server_us'):.1f}",
        *(f"{wait:.1f}" if wait else "–" for wait in (median(of_target, "p50_ms"), median(of_target, "p99_ms"))),
        f"{sum(one['refused'] + one['broken'] + one['late'] for one in of_target):,.0f}",
        f"{median(of_target, 'peak_mib'):.0f}",
    ]


def measure_post(target: Target, way: Way, connections: int, seconds: float) -> Round:
    """One round: a fresh server, a second to warm up, the load, and a count of what it kept."""
    with TemporaryDirectory(prefix="heatfleet-bench-") as name, running(target, Path(name)) as server:
        now_ms = time.time_ns() // 1_000_000
        warm = post(server.port, way, connections=connections, seconds=1, first_ms=now_ms - 2 * _HOUR_MS)
        one, load = under_load(
            server,
            lambda: post(server.port, way, connections=connections, seconds=seconds, first_ms=now_ms - _HOUR_MS),
            way.messages,
        )
        expect_kept(target, server, (warm.good + load.good) * way.messages)
    return one


def under_load(server: Server, load: Callable[[], Load], messages: int) -> tuple[Round, Load]:
    """What a load saw, with so many ``messages`` a request, and what the server took for it."""
    before, generator_before_s = Usage.of(server.pid), generator_s()
    seen = load()
    used, ours_s = Usage.of(server.pid).since(before), generator_s() - generator_before_s
    good = max(1, seen.good) * messages
    one = {
        "messages_per_s": seen.good * messages / seen.duration_s,
        "server_us": (used.process_s + used.children_s) / good * 1e6,
        "server_cores": (used.process_s + used.children_s) / used.clock_s,
        "peak_mib": peak_mib(server.pid),
        "others_cores": max(0.0, used.machine_s - used.process_s - used.children_s - ours_s) / used.clock_s,
        "generator_cores": ours_s / used.clock_s,
        **asdict(seen),
    }
    return one, seen


def expect_kept(target: Target, server: Server, answered: int) -> None:
    """A server that said yes to more messages than it kept is not worth measuring."""
    if target.kept is not None and (kept := target.kept(server)) < answered:
        raise Unmeasurable(f"{target.name} said yes to {answered:,} messages and kept {kept:,}")


def generator_s() -> float:
    """CPU time of the children that were waited for: every wrk so far, and servers of earlier rounds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
