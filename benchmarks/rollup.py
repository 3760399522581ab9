"""What it costs to turn readings into figures: a fleet's full hour at once, late readings, a rebuild, a quiet minute.

Watches the rollup's time, processor and memory, and how long devices wait for answers while it works beside the server
on the same disk and the same two cores. The hour lies in the journal in commits of 50 readings, the minute's in commits
of one: what a server writes under load, and at rest.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

import numpy as np

from benchmarks.fleet import MadeUpFleet
from benchmarks.results import Result, Round, Unmeasurable, median, others_note, spread
from benchmarks.servers import Server, heatfleet, running
from benchmarks.steady import message_of, steady_posts
from benchmarks.store_files import day_file_bytes, fill_journal, run_rollup
from benchmarks.usage import Usage, wait_for_quiet
from heatfleet.domain.slots import HOUR_MS

ROUNDS = 3
DEVICES = 100_000
LATE_READINGS = 7_000
MESSAGES_A_DAY = 500
COLUMNS = (
    "step",
    "readings",
    "of them late",
    "seconds (least – most)",
    "CPU s",
    "peak MiB",
    "POST p50, ms",
    "POST p99, ms",
)
STEPS = {
    "alone": "no rollup",
    "hour": "a full hour, beside ingest",
    "late": "late readings, beside ingest",
    "rebuild": "rebuild, beside ingest",
    "minute": "a minute of single posts",
}


def measure(*, quick: bool) -> Result:
    """Every step in each round, on a store made for it."""
    devices = DEVICES // 50 if quick else DEVICES
    rounds: dict[str, list[Round]] = {step: [] for step in STEPS}
    for _ in range(1 if quick else ROUNDS):
        wait_for_quiet(0 if quick else 30)
        with TemporaryDirectory(prefix="heatfleet-bench-") as name:
            for step, one in _round(Path(name), MadeUpFleet(devices), alone_s=1 if quick else 10).items():
                rounds[step].append(one)
    return Result(
        title=f"rollup: {devices:,} devices",
        columns=COLUMNS,
        rows=[_row(STEPS[step], of_step) for step, of_step in rounds.items()],
        rounds=rounds,
        notes=[
            f"Rounds: {len(rounds['hour'])}; medians. The fleet posts {_posts_per_s(devices):.0f} messages a second.",
            f"A stored reading takes {median(rounds['hour'], 'bytes_a_reading'):.1f} bytes.",
            others_note(rounds),
        ],
    )


def _round(folder: Path, fleet: MadeUpFleet, alone_s: float) -> Mapping[str, Round]:
    devices = len(fleet.device_ids)
    hour_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS - 2 * HOUR_MS  # over, so it goes to its final place
    filled = fill_journal(folder, fleet.hour(hour_ms), a_commit=50)
    late = [
        message_of(reading) for reading in fleet.some(LATE_READINGS * devices // DEVICES, hour_ms, hour_ms + HOUR_MS)
    ]
    done: dict[str, dict[str, float]] = {}
    with running(heatfleet(), folder) as server:

        def beside(work: Callable[[], Round]) -> dict[str, float]:
            return asyncio.run(_beside_ingest(server, fleet, work))

        done["alone"] = beside(lambda: _nothing(alone_s))
        done["hour"] = beside(lambda: run_rollup(folder))
        done["hour"] |= {"bytes_a_reading": day_file_bytes(folder) / filled}
        _post_batch(server.port, b"\n".join(late))
        done["late"] = beside(lambda: run_rollup(folder))
        done["rebuild"] = beside(lambda: run_rollup(folder, "--rebuild"))
    if done["hour"]["readings"] < filled or not done["late"]["late"]:
        raise Unmeasurable(f"{filled} readings were in the journal, and the rollups said {done}")
    # The minute's readings are later than all others, as they are beside a server that is up to date.
    stopped_ms = time.time_ns() // 1_000_000
    run_rollup(folder)
    time.sleep(alone_s)
    now_ms = time.time_ns() // 1_000_000
    fill_journal(folder, fleet.some(round(_posts_per_s(devices) * 60), stopped_ms, now_ms), a_commit=1)
    done["minute"] = run_rollup(folder)
    return done


async def _beside_ingest(server: Server, fleet: MadeUpFleet, work: Callable[[], Round]) -> dict[str, float]:
    """Work, while the fleet posts at its usual rate."""
    before, own_s = Usage.of(server.pid), time.process_time()
    async with steady_posts(server.port, _posts_per_s(len(fleet.device_ids)), fleet) as waits_ms:
        done = await asyncio.to_thread(work)
    used = Usage.of(server.pid).since(before)
    ours_s = used.process_s + used.children_s + time.process_time() - own_s + done["cpu_s"]
    p50_ms, p99_ms = np.percentile(waits_ms, [50, 99]).tolist()
    others_cores = max(0.0, used.machine_s - ours_s) / used.clock_s
    return {**done, "post_p50_ms": p50_ms, "post_p99_ms": p99_ms, "others_cores": others_cores}


def _nothing(seconds: float) -> Round:
    time.sleep(seconds)
    return {"readings": 0, "late": 0, "seconds": seconds, "cpu_s": 0, "peak_mib": 0}


def _post_batch(port: int, body: bytes) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    with urlopen(Request(f"http://127.0.0.1:{port}/message", body, headers), timeout=30):
        pass


def _posts_per_s(devices: int) -> float:
    return devices * MESSAGES_A_DAY / 86_400


def _row(name: str, rounds: list[Round]) -> list[str]:
    waits = [f"{median(rounds, wait):.1f}" if wait in rounds[0] else "" for wait in ("post_p50_ms", "post_p99_ms")]
    return [
        name,
        f"{median(rounds, 'readings'):,.0f}",
        f"{median(rounds, 'late'):,.0f}",
        spread(rounds, "seconds", ".2f"),
        f"{median(rounds, 'cpu_s'):.2f}",
        f"{median(rounds, 'peak_mib'):,.0f}",
        *waits,
    ]
