"""Keys as commands leave them, for tests of `heatfleet keys` and of those who look at keys."""

import time
from contextlib import closing

from heatfleet.domain.access import ApiKey
from heatfleet.storage import open_key_ring
from tests.cli.conftest import Run
from tests.contract.conftest import SOMEBODY, made

STORE = "sqlite:///var/heatfleet.db"
DAY_MS = 86_400_000
FAR_S = 60
"""A command has certainly run within so many seconds."""


def keys() -> list[ApiKey]:
    """The keys that the commands have left."""
    with closing(open_key_ring(STORE, writable=False)) as ring:
        return list(ring.keys())


def create(run: Run, *options: str, scope: str = "ingest", name: str = "gateway lyon") -> str:
    """A key, made on the command line."""
    created = run("keys", "create", "--scope", scope, "--name", name, *options)
    assert created.code == 0, created.err
    return created.out.strip()


def keep(**columns: object) -> ApiKey:
    """A key as an earlier day may have left it."""
    with closing(open_key_ring(STORE)) as ring:
        key = made(**({"at_ms": now_ms()} | columns))  # type: ignore[arg-type]
        ring.add(key, by=SOMEBODY)
        return key


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def id_of(key: str) -> str:
    return key.split("_")[1]
