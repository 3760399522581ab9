"""Those who were just answered share the next commit, and nobody waits for who does not come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from heatfleet import ingest as module
from heatfleet.domain.messages import POWER, Reading
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics
from heatfleet.storage.block import Block

NOW_MS = 1_768_068_000_000
ONE = [Reading("d", "p", POWER, NOW_MS, 1.0)]


class Counting:
    """A store that only counts how many readings each commit has."""

    def __init__(self) -> None:
        self.commits: list[int] = []

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Take them."""
        self.commits.append(sum(map(len, blocks)))


@asynccontextmanager
async def ingesting(store: Counting) -> AsyncIterator[Ingest]:
    """An ingest in front of the store."""
    made = Ingest(store, readings_max=1000, clock=lambda: NOW_MS, metrics=Metrics())  # type: ignore[arg-type]
    yield made
    await made.close()


async def talk(ingest: Ingest, times: int, turns_between: int) -> None:
    """A client that sends again some turns of the loop after each answer."""
    for _ in range(times):
        await ingest.write(ONE)
        for _ in range(turns_between):
            await asyncio.sleep(0)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is awaited comes: a slow machine must not decide a test."""
    monkeypatch.setattr(module, "GATHER_S", 1.0)


@pytest.mark.usefixtures("_patient")
async def test_who_was_answered_together_is_written_together() -> None:
    """Clients that send again after each answer, sooner or later, share every commit but the first ones."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 50, turns) for turns in (0, 3, 10, 40, 41)))

    assert 250 == sum(store.commits)
    assert store.commits.count(5) >= 45


async def test_who_does_not_come_back_is_not_waited_for_longer() -> None:
    """When others leave, those who stay are written when the time is over."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 1, 0) for _ in range(4)), talk(ingest, 20, 1))

    assert 24 == sum(store.commits)


@pytest.mark.usefixtures("_patient")
async def test_a_few_are_not_waited_for() -> None:
    """Three clients, of whom two leave: the third is written at once all the same."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(talk(ingest, 1, 0), talk(ingest, 1, 0), talk(ingest, 20, 1))

    assert 22 == sum(store.commits)


@pytest.mark.usefixtures("_patient")
async def test_a_lone_client_is_written_at_once() -> None:
    """Nobody else was in flight, so nobody is waited for."""
    store = Counting()
    async with ingesting(store) as ingest:
        await talk(ingest, 20, 0)

    assert [1] * 20 == store.commits


async def test_a_client_that_comes_after_a_pause_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the time for those who did not come is over, the next one does not wait for them either."""
    monkeypatch.setattr(module, "GATHER_S", 0.01)
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 1, 0) for _ in range(6)))
        await asyncio.sleep(0.1)
        assert 1 == ingest._awaited
        await talk(ingest, 1, 0)

    assert 7 == sum(store.commits)


@pytest.mark.usefixtures("_patient")
async def test_closing_waits_for_nobody() -> None:
    """What waits for others is committed when the ingest is closed."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 1, 0) for _ in range(6)))
        assert ingest._awaited > 1
        late = asyncio.ensure_future(ingest.write(ONE))
        await asyncio.sleep(0)

    await late
    assert 7 == sum(store.commits)
