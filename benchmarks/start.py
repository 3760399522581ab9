"""How long `heatfleet serve` takes until it answers, and how much memory it holds, with a whole fleet known.

Watches that nothing at the start grows with the fleet: who restarts a server for an update should lose no message, and
devices try again for a few seconds only. The rollup beside it loads the fleet's state when it first works.
"""

import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fleet import MadeUpFleet
from benchmarks.kept_rollup import run_rollup
from benchmarks.options import Options
from benchmarks.results import Result, Round, Unmeasurable, goal, median, spread
from benchmarks.servers import STORE, heatfleet, running
from benchmarks.store_files import fill_journal
from benchmarks.usage import children, drop_caches, peak_mib, resident_mib, wait_for_quiet
from heatfleet.storage import open_store

DEVICES = 2_000_000
STARTS = 3
ROLLUP_WAIT_S = 120
COLUMNS = ("start", "seconds to ready (least – most)", "server, MiB", "rollup beside it, MiB (least – most)")


def measure(options: Options) -> Result:
    """So many starts on one store, with the files in the kernel's memory and without."""
    devices = options.size(options.devices, DEVICES, 2_000)
    count = 1 if options.quick else STARTS
    rounds: dict[str, list[Round]] = {"files in memory": [], "caches dropped": []}
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        folder = Path(name)
        fleet = MadeUpFleet(devices)
        now_ms = time.time_ns() // 1_000_000
        fill_journal(folder, fleet, [fleet.everyone(now_ms - 1_800_000, now_ms)], a_commit=50)
        run_rollup(folder)
        for _ in range(count):
            wait_for_quiet(options.patience_s)
            for kind, found in rounds.items():
                if kind == "files in memory" or (not options.quick and drop_caches()):
                    found.append(_start(folder))
    slowest = median([one for found in rounds.values() for one in found], "seconds")
    memory = max(one["rollup_mib"] + one["server_mib"] for found in rounds.values() for one in found)
    return Result(
        title=f"start: {devices:,} known devices",
        columns=COLUMNS,
        rows=[_row(kind, found) for kind, found in rounds.items() if found],
        rounds={kind: found for kind, found in rounds.items() if found},
        notes=[
            f"Starts: {count} of each kind; medians. The rollup's memory is the most it held in its first rollup.",
            goal("seconds to ready", slowest, at_most=3),
            goal("MiB of server and rollup together", memory, at_most=1024, form=".0f"),
        ],
    )


def _start(folder: Path) -> Round:
    with closing(open_store(f"sqlite:///{folder / STORE}", writable=False)) as store:
        before_ms = store.status(0).as_of_ms
        # Beside a server figures count up to 5 s ago; a later instant shows that a rollup has been there.
        time.sleep(max(0.0, before_ms / 1000 + 6 - time.time()))
        began_s = time.perf_counter()
        with running(heatfleet(rollup=True), folder) as server:
            seconds = time.perf_counter() - began_s
            deadline_s = time.monotonic() + ROLLUP_WAIT_S
            while store.status(0).as_of_ms == before_ms:
                if time.monotonic() > deadline_s:
                    raise Unmeasurable(f"the rollup beside the server did nothing for {ROLLUP_WAIT_S} s")
                time.sleep(0.1)
            rollup_mib = sum(peak_mib(child) for child in children(server.pid))
            return {"seconds": seconds, "server_mib": resident_mib(server.pid), "rollup_mib": rollup_mib}


def _row(kind: str, rounds: list[Round]) -> list[str]:
    return [
        kind,
        spread(rounds, "seconds", ".2f"),
        f"{median(rounds, 'server_mib'):.0f}",
        spread(rounds, "rollup_mib", ".0f"),
    ]
