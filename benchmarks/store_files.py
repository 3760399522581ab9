"""Work on the files of a store from outside the server: fill its journal, run its rollup, weigh what it keeps."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks.results import Unmeasurable
from benchmarks.servers import STORE, environment
from heatfleet.domain.messages import Reading
from heatfleet.storage import open_store
from heatfleet.storage.block import Block


def fill_journal(folder: Path, readings: Iterable[Reading], *, a_commit: int) -> int:
    """Append readings as a server does, so many a commit; gives how many there were. No server may run meanwhile."""
    count = 0
    remaining: Iterator[Reading] = iter(readings)
    with closing(open_store(f"sqlite:///{folder / STORE}")) as store:
        while part := list(islice(remaining, a_commit)):
            store.append([Block.of(part)], time.time_ns() // 1_000_000)
            count += len(part)
    return count


def run_rollup(folder: Path, *options: str) -> dict[str, float]:
    """One `heatfleet rollup` in a process of its own: what it did, and what it took, its start included."""
    command = [sys.executable, "-m", "heatfleet", "rollup", "--json", *options]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Unmeasurable(f"`heatfleet rollup {' '.join(options)}` ended with code {process.returncode}")
    done = json.loads(printed)
    return {
        "readings": done["readings"],
        "late": done["late"],
        "seconds": done["duration_s"],
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }


def day_file_bytes(folder: Path) -> int:
    """The room that readings in their final place take."""
    return sum(path.stat().st_size for path in (folder / f"{STORE}.d").glob("readings-*.db"))
