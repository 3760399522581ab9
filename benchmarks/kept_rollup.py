"""A rollup in a process of its own: as the command runs it, and as a server keeps it, with a clock that can be told.

`python -m benchmarks.kept_rollup <store's URL>` reads an instant (ms) from each line and answers with what the rollup
up to that instant did and took; so Python's start and the loading of the fleet's state are paid once, as in a server.
"""

import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.results import Unmeasurable
from benchmarks.servers import STORE, environment
from heatfleet.storage import open_store


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


class KeptRollup:
    """The process; the last rollup it made counts up to the greatest instant it was told."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def up_to(self, now_ms: int) -> dict[str, float]:
        """One rollup: ``readings``, ``late``, ``as_of_ms``, ``seconds``, ``cpu_s`` and, so far, ``peak_mib``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # said below
            self._process.stdin.write(b"%d\n" % now_ms)
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Unmeasurable(f"the rollup process ended with code {self._process.wait()}")
        done: dict[str, float] = json.loads(line)
        return done


@contextmanager
def kept_rollup(folder: Path) -> Iterator[KeptRollup]:
    """The process, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.kept_rollup", f"sqlite:///{folder / STORE}"]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield KeptRollup(process)
    finally:
        process.communicate()  # it ends with its input


def _main(url: str) -> None:
    gc.disable()  # as heatfleet.rollup.run_every does
    with closing(open_store(url, writable=False)) as store:
        for line in sys.stdin:
            before_s = time.process_time()
            done = asdict(store.rollup(int(line)))
            done |= {
                "seconds": done.pop("duration_s"),
                "cpu_s": time.process_time() - before_s,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
