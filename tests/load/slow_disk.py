"""A server that stores little in a commit, and takes its time: its capacity is small, and the same on every machine."""

from pathlib import Path

from tests.serving import RunningServer

COMMIT_S = 0.05
COMMIT_REQUESTS = 25
QUEUE = 100
"""Readings that may wait: some commits of them, as it is with a real disk."""
CAPACITY = COMMIT_REQUESTS / COMMIT_S
"""Messages a second, at most."""


class SlowDisk(RunningServer):
    """A real server in which each commit sleeps before it is made."""

    script = f"""
import time
from heatfleet import ingest
from heatfleet.storage.sqlite.journal import JournalWriter
ingest.COMMIT_REQUESTS_MAX = {COMMIT_REQUESTS}
append = JournalWriter.append
JournalWriter.append = lambda *values: (time.sleep({COMMIT_S}), append(*values))[1]
{RunningServer.script}"""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, **{"queue_readings_max": QUEUE, **settings})  # type: ignore[arg-type]
