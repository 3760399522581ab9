"""Those who were just answered share the next commit, and nobody waits for who does not come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from heatfleet import ingest as module
from heatfleet.domain.messages import POWER, Reading
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics

NOW_MS = 1_768_068_000_000
ONE = [Reading("d", "p", POWER, NOW_MS, 1.0)]


class Counting:
    """A store that only counts how many readings each commit has."""

    def __init__(self) -> None:
        self.commits: list[int] = []

    def append(self, readings: Sequence[Reading], received_ms: int) -> None:
        """Take them."""
        self.commits.append(len(readings))


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
    """Only turns count: a slow machine must not decide a test."""
    monkeypatch.setattr(module, "GATHER_S", 60.0)


@pytest.mark.usefixtures("_patient")
async def test_who_was_answered_together_is_written_together() -> None:
    """Three clients that send again soon after each answer share every commit but the first ones."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 50, turns) for turns in (0, 3, 6)))

    assert 150 == sum(store.commits)
    assert store.commits.count(3) >= 45


@pytest.mark.usefixtures("_patient")
async def test_who_does_not_come_back_is_not_waited_for() -> None:
    """When others leave, those who stay are written after a few turns that brought nobody."""
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(talk(ingest, 1, 0), talk(ingest, 1, 0), talk(ingest, 20, 1))

    assert 22 == sum(store.commits)


@pytest.mark.usefixtures("_patient")
async def test_a_lone_client_is_written_at_once() -> None:
    """Nobody else was in flight, so nothing is gathered."""
    store = Counting()
    async with ingesting(store) as ingest:
        await talk(ingest, 20, 0)

        assert not ingest._gathering

    assert [1] * 20 == store.commits


async def test_gathering_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many turns bring something, the next commit begins when the time is over."""
    monkeypatch.setattr(module, "GATHER_S", 0.0)
    store = Counting()
    async with ingesting(store) as ingest:
        await asyncio.gather(*(talk(ingest, 10, turns) for turns in (0, 5)))

    assert 20 == sum(store.commits)
