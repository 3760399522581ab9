"""Whether a message costs more when the fleet or its history grows.

Watches that neither the way of a message into the journal nor that of a reading into figures depends on how many
devices are known or how much is kept. Each store gets the same number of readings, of all its devices, over as much
time as the fleet takes to send them.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fleet import READINGS_AN_HOUR, MadeUpFleet
from benchmarks.history import READINGS_A_DAY, History, midnight_ms
from benchmarks.kept_rollup import kept_rollup
from benchmarks.options import Options
from benchmarks.results import Result, Round, goal, median, spread
from benchmarks.rounds import under_load
from benchmarks.servers import heatfleet, running
from benchmarks.single import CONNECTIONS
from benchmarks.store_files import fill_journal
from benchmarks.usage import wait_for_quiet
from benchmarks.wrk import Load, post
from heatfleet.domain.slots import HOUR_MS

ROUNDS = 3
ROUND_S = 4
FLEETS = (1_000, 100_000, 2_000_000)
READINGS = 20_000_000
ROLLED_UP = 500_000
GOAL = 1.2
COLUMNS = (
    "store",
    "server CPU, s a million messages (least – most)",
    "× first",
    "rollup CPU, s a million readings (least – most)",
    "× first",
)


def measure(options: Options) -> Result:
    """Fleets of several sizes on empty stores, then the smallest question again on a store with a history."""
    readings = options.size(options.readings, READINGS, 100_000)
    count = 1 if options.quick else ROUNDS
    rounds: dict[str, list[Round]] = {}
    for devices in FLEETS:
        size = devices // 100 if options.quick else devices
        with TemporaryDirectory(prefix="heatfleet-bench-") as name:
            fleet = MadeUpFleet(size)
            now_ms = time.time_ns() // 1_000_000
            start_ms = now_ms - 48 * HOUR_MS
            fill_journal(Path(name), fleet, [fleet.everyone(start_ms - HOUR_MS, start_ms)], a_commit=50)
            rounds[f"{size:,} devices, nothing kept"] = _rounds(Path(name), fleet, start_ms, count, options)
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        # The smallest fleet again, so that nothing but the history differs; at most a year of it.
        smallest = FLEETS[0] // 100 if options.quick else FLEETS[0]
        history = History(Path(name), readings, min(365, max(1, round(readings / READINGS_A_DAY / smallest))))
        label = f"{history.fleet.devices:,} devices, {history.readings:,} readings kept"
        rounds[label] = _rounds(Path(name), history.fleet, midnight_ms(history.today), count, options)
    return Result(
        title="growth: the same work in greater stores",
        columns=COLUMNS,
        rows=_rows(rounds),
        rounds=rounds,
        notes=[
            f"Rounds: {count}; medians. Messages: one a POST, {CONNECTIONS} connections.",
            f"Rollup: {ROLLED_UP:,} readings at once, as many minutes as the fleet takes for them, in a kept process.",
            *_goals(rounds),
        ],
    )


def _rounds(folder: Path, fleet: MadeUpFleet, start_ms: int, count: int, options: Options) -> list[Round]:
    """First what the rollup takes for equal numbers of readings, then what the server takes for a message."""
    wait_for_quiet(options.patience_s)
    rollups = _rollups(folder, fleet, start_ms, count, ROLLED_UP // 50 if options.quick else ROLLED_UP)
    servers: list[Round] = []
    way, seconds = heatfleet().single, 1 if options.quick else ROUND_S
    first_ms = time.time_ns() // 1_000_000 - HOUR_MS
    with running(heatfleet(), folder) as server:
        for number in range(-1, count):  # the first one warms up

            def load(begin_ms: int = first_ms + number * 1_000_000) -> Load:
                return post(
                    server.port,
                    way,
                    connections=CONNECTIONS,
                    seconds=seconds,
                    first_ms=begin_ms,
                    devices=fleet.devices,
                )

            servers.append(under_load(server, load, 1)[0])
    return [{**one, **rollup} for one, rollup in zip(servers[1:], rollups, strict=True)]


def _rollups(folder: Path, fleet: MadeUpFleet, start_ms: int, count: int, readings: int) -> list[dict[str, float]]:
    span_ms = round(readings / fleet.devices / READINGS_AN_HOUR * HOUR_MS)
    found = []
    with kept_rollup(folder) as rollup:
        rollup.up_to(start_ms)
        for number in range(count):
            begin_ms, end_ms = start_ms + number * span_ms, start_ms + (number + 1) * span_ms
            fill_journal(folder, fleet, [fleet.between(begin_ms, end_ms)], a_commit=50)
            done = rollup.up_to(end_ms)
            found.append({"rollup_us": done["cpu_s"] / done["readings"] * 1e6, "rollup_readings": done["readings"]})
    return found


def _goals(rounds: Mapping[str, Sequence[Round]]) -> list[str]:
    return [
        goal(f"{name}, greatest over least", max(medians) / min(medians), at_most=GOAL)
        for name, what in (("server CPU", "server_us"), ("rollup CPU", "rollup_us"))
        if (medians := [median(of_store, what) for of_store in rounds.values()])
    ]


def _rows(rounds: Mapping[str, Sequence[Round]]) -> list[list[str]]:
    first = next(iter(rounds.values()))
    return [
        [
            name,
            *(
                cell
                for what in ("server_us", "rollup_us")
                for cell in (
                    spread(of_store, what, ".2f"),
                    f"{median(of_store, what) / median(first, what):.2f}",
                )
            ),
        ]
        for name, of_store in rounds.items()
    ]
