"""The load generator: Debian's `wrk` with `post.lua`, a closed loop of so many connections in one thread."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks.results import Unmeasurable

DEVICES = 100_000


class Way(NamedTuple):
    """Where a server takes messages, in which of `post.lua`'s forms, and how many a request."""

    path: str
    form: Literal["json", "ndjson", "array", "vm", "line"]
    messages: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk saw: ``answered`` counts every answer, ``refused`` those above status 399.

    ``broken`` connections failed; ``late`` counts requests without an answer for 2 s.
    """

    answered: int
    refused: int
    broken: int
    late: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def good(self) -> int:
        return self.answered - self.refused


def post(port: int, way: Way, *, connections: int, seconds: float, first_ms: int, devices: int = DEVICES) -> Load:
    """Post as fast as answers come; message times begin at ``first_ms`` and never repeat within the run."""
    found = shutil.which("wrk")
    if found is None:
        raise Unmeasurable("wrk makes the load and is not installed; on Debian and Ubuntu: sudo apt-get install wrk")
    # wrk takes whole seconds only.
    options = ["--threads=1", f"--connections={connections}", f"--duration={max(1, round(seconds))}s"]
    script = Path(__file__).with_name("post.lua")
    words = [way.path, way.form, str(way.messages), str(first_ms), str(devices)]
    command = [found, *options, f"--script={script}", f"http://127.0.0.1:{port}/", "--", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if run.returncode:
        raise Unmeasurable(f"wrk failed: {run.stderr.strip() or run.stdout.strip()}")
    return Load(**json.loads(run.stdout.splitlines()[-1]))
