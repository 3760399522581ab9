"""What it costs to turn readings into figures: a fleet's full hour at once, late readings, usual minutes, a rebuild.

Watches the rollup's time, processor and memory, and how long devices wait for answers while it works beside the server
on the same disk and the same two cores. The hour lies days back, over and ready for its final place, and its devices
are known; the minutes are a live fleet's, one after the other in a process that is kept, as beside a server.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

from benchmarks.fleet import MESSAGES_A_DAY, MadeUpFleet
from benchmarks.kept_rollup import kept_rollup, run_rollup
from benchmarks.options import Options
from benchmarks.results import Result, Round, Unmeasurable, median, others_note, spread
from benchmarks.servers import heatfleet, running
from benchmarks.steady import PER_S_MAX, beside_ingest
from benchmarks.store_files import day_file_bytes, fill_journal
from benchmarks.usage import wait_for_quiet
from heatfleet.domain.slots import HOUR_MS

DEVICES = 2_000_000
ROUNDS_OF_SMALL = 3
SMALL = 200_000
LATE_READINGS = 7_000
HOUR_COMMIT, MINUTE_COMMIT = 50, 2
MINUTES = 5
MINUTE_MS = 60_000
COLUMNS = (
    "step",
    "readings",
    "of them late",
    "seconds (least – most)",
    "CPU s",
    "CPU, s a million readings",
    "bytes a reading",
    "peak MiB",
    "POST p50, ms",
    "POST p99, ms",
)
STEPS = {
    "alone": "no rollup",
    "hour": "a full hour, beside ingest",
    "late": "late readings, beside ingest",
    "rebuild": "rebuild, beside ingest",
    "minute": "a minute of the fleet",
}


def measure(options: Options) -> Result:
    """Every step in each round, on a store made for it; a round of a great fleet takes minutes, so there is one."""
    devices = options.size(options.devices, DEVICES, 2_000)
    rounds: dict[str, list[Round]] = {}
    for _ in range(1 if options.quick or devices > SMALL else ROUNDS_OF_SMALL):
        wait_for_quiet(options.patience_s)
        with TemporaryDirectory(prefix="heatfleet-bench-") as name:
            steps = _round(Path(name), MadeUpFleet(devices), alone_s=1 if options.quick else 10)
            for step, of_step in steps.items():
                rounds.setdefault(step, []).extend(of_step)
    return Result(
        title=f"rollup: {devices:,} devices",
        columns=COLUMNS,
        rows=[_row(STEPS[step], of_step) for step, of_step in rounds.items()],
        rounds=rounds,
        notes=_notes(rounds, devices),
    )


def _notes(rounds: Mapping[str, list[Round]], devices: int) -> list[str]:
    hour, alone = rounds["hour"], rounds["alone"]
    return [
        (
            f"Rounds: {len(hour)}; medians. Beside the rollup {median(hour, 'posts_per_s'):,.0f} messages a second were"
            f" posted, one a POST; the fleet's mean is {devices * MESSAGES_A_DAY / 86_400:,.0f}, and the client's limit"
            f" {PER_S_MAX:,}."
        ),
        (
            f"In the journal the hour has {HOUR_COMMIT} readings a commit, the minute {MINUTE_COMMIT}. The minute is"
            f" the median of {MINUTES}, in a kept process; the other steps start Python."
        ),
        f"The fleet's minutes keep one core busy for {median(rounds['minute'], 'cpu_s') / 60:.1%} of the time.",
        f"p99 of a POST beside the hour, × without: {median(hour, 'post_p99_ms') / median(alone, 'post_p99_ms'):.1f}.",
        others_note(rounds),
    ]


def _round(folder: Path, fleet: MadeUpFleet, alone_s: float) -> Mapping[str, list[Round]]:
    hour_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 72 * HOUR_MS
    fill_journal(folder, fleet, [fleet.everyone(hour_ms - HOUR_MS, hour_ms - HOUR_MS // 2)], a_commit=HOUR_COMMIT)
    run_rollup(folder)  # from here on the devices are known
    before = day_file_bytes(folder)
    filled = fill_journal(folder, fleet, fleet.by_minute(hour_ms, hour_ms + HOUR_MS), a_commit=HOUR_COMMIT)
    os.sync()  # what filling left to write would keep the devices waiting before anything is measured
    late = fleet.messages(fleet.some(min(LATE_READINGS, fleet.devices), hour_ms, hour_ms + HOUR_MS))
    done: dict[str, Round] = {}
    with running(heatfleet(), folder) as server:

        def beside(work: Callable[[], Round]) -> dict[str, float]:
            return asyncio.run(beside_ingest(server, fleet, work))

        done["alone"] = beside(lambda: _nothing(alone_s))
        hour = beside(lambda: run_rollup(folder))
        done["hour"] = hour | {"bytes_a_reading": (day_file_bytes(folder) - before) / filled}
        _post_batch(server.port, b"\n".join(late))
        done["late"] = beside(lambda: run_rollup(folder))
        if fleet.devices <= SMALL:  # a great fleet's takes minutes, and tells nothing else
            done["rebuild"] = beside(lambda: run_rollup(folder, "--rebuild"))
    if done["hour"]["readings"] < filled or done["late"]["late"] < len(late) / 2:
        raise Unmeasurable(f"{filled} readings were in the journal, and the rollups said {done}")
    return {**{step: [one] for step, one in done.items()}, "minute": _minutes(folder, fleet)}


def _minutes(folder: Path, fleet: MadeUpFleet) -> list[Round]:
    """Minutes of a fleet that has been posting all the time: six unmeasured, in which each device spoke, then some."""
    now_ms = time.time_ns() // 1_000_000 + MINUTE_MS
    warm_ms = 6 * MINUTE_MS
    found: list[Round] = []
    with kept_rollup(folder) as rollup:
        fill_journal(folder, fleet, fleet.by_minute(now_ms, now_ms + warm_ms), a_commit=HOUR_COMMIT)
        rollup.up_to(now_ms + warm_ms)
        for number in range(MINUTES):
            start_ms = now_ms + warm_ms + number * MINUTE_MS
            fill_journal(folder, fleet, [fleet.between(start_ms, start_ms + MINUTE_MS)], a_commit=MINUTE_COMMIT)
            found.append(rollup.up_to(start_ms + MINUTE_MS))
    return found


def _nothing(seconds: float) -> Round:
    time.sleep(seconds)
    return {"readings": 0, "late": 0, "seconds": seconds, "cpu_s": 0, "peak_mib": 0}


def _post_batch(port: int, body: bytes) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    with urlopen(Request(f"http://127.0.0.1:{port}/message", body, headers), timeout=30):
        pass


def _row(name: str, rounds: list[Round]) -> list[str]:
    readings = median(rounds, "readings")
    waits = [f"{median(rounds, wait):.1f}" if wait in rounds[0] else "" for wait in ("post_p50_ms", "post_p99_ms")]
    return [
        name,
        f"{readings:,.0f}",
        f"{median(rounds, 'late'):,.0f}",
        spread(rounds, "seconds", ".2f"),
        f"{median(rounds, 'cpu_s'):.2f}",
        f"{median(rounds, 'cpu_s') / readings * 1e6:.2f}" if readings else "",
        f"{median(rounds, 'bytes_a_reading'):.1f}" if "bytes_a_reading" in rounds[0] else "",
        f"{median(rounds, 'peak_mib'):,.0f}",
        *waits,
    ]
