"""Every kind of ledger and of key ring, empty; and what keeps a key ring, at a SQL prompt."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.access import CLI, Actor, ApiKey, digest_of, new_key
from heatfleet.storage import open_key_ring, open_ledger
from heatfleet.storage.base import KeyRing, Ledger
from tests.contract.ledgers import LEDGERS

# The table of backends: a name, and how to give one an address in a fresh folder.
KEY_RINGS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/heatfleet.db",
}

# How to run one statement of SQL on what a backend keeps at an address, as somebody with a SQL prompt would.
BY_HAND: dict[str, Callable[[str, str], list[tuple[object, ...]]]] = {
    "sqlite": lambda url, statement: sqlite_by_hand(Path(f"{url.removeprefix('sqlite:///')}.d/ledger.db"), statement),
}

ByHand = Callable[[str], list[tuple[object, ...]]]

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
DAY_MS = 86_400_000
SOMEBODY = Actor(CLI, "alice")


def sqlite_by_hand(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(30_000)
        return list(connection.execute(statement))


@pytest.fixture(params=LEDGERS.values(), ids=list(LEDGERS))
def address(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """How to give a ledger of each kind an address in a folder."""
    backend: Callable[[Path], str] = request.param
    return backend


@pytest.fixture
def url(address: Callable[[Path], str], tmp_path: Path) -> str:
    """The address of an empty ledger of each kind."""
    return address(tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger of each kind, open for writing."""
    with closing(open_ledger(url)) as opened:
        yield opened


@pytest.fixture(params=list(KEY_RINGS))
def key_ring_backend(request: pytest.FixtureRequest) -> str:
    """The name of each kind of key ring."""
    name: str = request.param
    return name


@pytest.fixture
def ring_url(key_ring_backend: str, tmp_path: Path) -> str:
    """The address of an empty key ring of each kind."""
    return KEY_RINGS[key_ring_backend](tmp_path)


@pytest.fixture
def ring(ring_url: str) -> Iterator[KeyRing]:
    """An empty key ring of each kind, open for writing."""
    with closing(open_key_ring(ring_url)) as opened:
        yield opened


@pytest.fixture
def by_hand(key_ring_backend: str, ring_url: str) -> ByHand:
    """Runs one statement of SQL on what this kind of key ring keeps."""
    return lambda statement: BY_HAND[key_ring_backend](ring_url, statement)


def made(name: str = "gateway lyon", at_ms: int = NOW_MS, **columns: object) -> ApiKey:
    """A key nobody has had before."""
    text, key_id = new_key()
    key = ApiKey(key_id, digest_of(text), name, frozenset({"ingest"}), at_ms)
    return replace(key, **columns)  # type: ignore[arg-type]


def added(ring: KeyRing, **columns: object) -> ApiKey:
    """A key that the ring keeps."""
    key = made(**columns)  # type: ignore[arg-type]
    ring.add(key, by=SOMEBODY)
    return key


def all_keys(ring: KeyRing) -> list[ApiKey]:
    """All keys of a ring."""
    return list(ring.keys())


def trail(by_hand: ByHand) -> list[tuple[object, ...]]:
    """The audit trail, without its numbers."""
    return by_hand("SELECT at_ms, actor, address, action, subject, result FROM audit ORDER BY entry")


def details(by_hand: ByHand) -> list[str]:
    return [str(detail) for (detail,) in by_hand("SELECT detail FROM audit ORDER BY entry")]
