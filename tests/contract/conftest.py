"""Every kind of ledger and of key ring, empty; and what keeps them, at a SQL prompt."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from heatfleet.domain.access import CLI, Actor, ApiKey, digest_of, new_key
from heatfleet.storage import open_key_ring, open_ledger
from heatfleet.storage.base import KeyRing, Ledger
from tests.contract.ledgers import LEDGERS, Backend
from tests.contract.stores import STORES, StoreBackend

ByHand = Callable[[str], list[tuple[object, ...]]]

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
DAY_MS = 86_400_000
SOMEBODY = Actor(CLI, "alice")


@pytest.fixture(params=STORES.values(), ids=list(STORES), scope="session")
def store_backend(request: pytest.FixtureRequest) -> StoreBackend:
    """Each kind of store."""
    make: Callable[[pytest.FixtureRequest], StoreBackend] = request.param
    return make(request)


@pytest.fixture
def store_url(store_backend: StoreBackend, tmp_path: Path) -> str:
    """The address of an empty store of each kind."""
    return store_backend.url(tmp_path)


@pytest.fixture(params=LEDGERS.values(), ids=list(LEDGERS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each kind of ledger."""
    kind: Backend = request.param
    return kind


@pytest.fixture
def address(backend: Backend) -> Callable[[Path], str]:
    """How to give a ledger of each kind an address in a folder."""
    return backend.address


@pytest.fixture
def url(address: Callable[[Path], str], tmp_path: Path) -> str:
    """The address of an empty ledger of each kind."""
    return address(tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger of each kind, open for writing."""
    with closing(open_ledger(url)) as opened:
        yield opened


@pytest.fixture
def ring(url: str) -> Iterator[KeyRing]:
    """An empty key ring of each kind, open for writing."""
    with closing(open_key_ring(url)) as opened:
        yield opened


@pytest.fixture
def by_hand(backend: Backend, url: str) -> ByHand:
    """Runs one statement of SQL on what this kind of key ring keeps."""
    return lambda statement: backend.by_hand(url, statement)


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
