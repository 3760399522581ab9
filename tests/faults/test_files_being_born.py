"""A file that is just being made, or whose maker died at it, is no file of another store."""

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.domain.messages import Reading
from heatfleet.storage import open_store
from heatfleet.storage.block import Block

TIME_MS = 1_732_631_573_782

_CUT_OFF = """
import os, signal, sys, time
from contextlib import closing
from heatfleet.storage import open_store
from heatfleet.storage.sqlite import connect, days

real_open, real_migrate = days.open_database, connect._migrate

def after_the_schema(path, kind, *, writable, **more):
    connection = real_open(path, kind, writable=writable, **more)
    if writable and kind == "day":
        os.kill(os.getpid(), signal.SIGKILL)
    return connection

def before_the_schema(connection, path, *more, writable):
    if writable and path.name.startswith("readings-"):
        os.kill(os.getpid(), signal.SIGKILL)
    return real_migrate(connection, path, *more, writable=writable)

if sys.argv[2] == "after":
    days.open_database = after_the_schema
else:
    connect._migrate = before_the_schema
with closing(open_store(sys.argv[1], writable=False)) as store:
    store.rollup(time.time_ns() // 1_000_000)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_rollup_killed_at_making_a_day_file(when: str, tmp_path: Path) -> None:
    """The device is still reported, the server opens the store again, and the next rollup makes the file good."""
    url = f"sqlite:///{tmp_path / 'heatfleet.db'}"
    with closing(open_store(url)) as store:
        store.append([Block.of([Reading("d1", "p1", 0, TIME_MS, 1000.0)])], TIME_MS)
    ended = subprocess.run([sys.executable, "-c", _CUT_OFF, url, when], check=False)
    assert -signal.SIGKILL == ended.returncode

    with closing(open_store(url)) as store:
        before = store.device_figures("d1")
        store.rollup(time.time_ns() // 1_000_000)
        after = store.device_figures("d1")

    assert 3_600_000_000 == int(after.energy_mj.sum())
    assert int(before.energy_mj.sum()) in (0, 3_600_000_000)


def test_a_journal_file_that_is_just_being_made(tmp_path: Path) -> None:
    """Whoever looks at the journal then sees what is in the older files; no SetupError, which ends a rollup process."""
    url = f"sqlite:///{tmp_path / 'heatfleet.db'}"
    with closing(open_store(url)) as store:
        store.append([Block.of([Reading("d1", "p1", 0, TIME_MS, 1000.0)])], TIME_MS)
        (tmp_path / "heatfleet.db.d" / "journal-000000000002.db").touch()  # as SQLite leaves it at first

        assert store.status(TIME_MS + 1000).lag_ms >= 0
        assert 1 == store.rollup(time.time_ns() // 1_000_000).readings
