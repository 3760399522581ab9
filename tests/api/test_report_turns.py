"""Reports take turns, leave the interpreter to messages that wait, and wait for nothing without end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Event, Lock, Semaphore

import pytest
from starlette.requests import ClientDisconnect

from heatfleet.api import turns as module
from heatfleet.api.turns import PLACES, WAITING_MAX, Turns
from heatfleet.errors import Overloaded, ReportTooSlow, StoreUnavailable
from heatfleet.ingest import Ingest
from heatfleet.storage.base import Patience
from tests.unit.gated_ingest import Gate, ingesting, some, turns

FOR_EVER_S = 60.0


async def stays() -> None:
    """A caller who does not hang up."""
    await asyncio.Event().wait()


def places_beside(ingest: Ingest, report_s: float = FOR_EVER_S, closing: asyncio.Event | None = None) -> Turns:
    return Turns(ingest, report_s=report_s, closing=closing or asyncio.Event())


class Busy:
    """Work that takes all places, and goes on until the block ends or, if it is asked to, its patience."""

    def __init__(self, *, obedient: bool = False) -> None:
        self.end = Event()
        self._begun = Semaphore(0)
        self._obedient = obedient

    def __call__(self, patience: Patience) -> None:
        """Work for one caller."""
        self._begun.release()
        deadline_s = time.monotonic() + 30
        while not self.end.wait(0.001):
            assert time.monotonic() < deadline_s
            if self._obedient:
                patience.check()

    async def begins(self) -> None:
        """Wait for one more to be at work."""
        await asyncio.to_thread(self._begun.acquire)

    @asynccontextmanager
    async def at_all_places(self, places: Turns) -> AsyncIterator[list["asyncio.Task[None]"]]:
        """Nobody else finds a place within the block."""
        tasks = [asyncio.create_task(places.take(self, stays)) for _ in range(PLACES)]
        try:
            for _ in tasks:
                await self.begins()
            yield tasks
        finally:
            self.end.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_only_a_few_work_at_a_time_and_all_get_their_turn() -> None:
    """Each gets its own answer, whoever waits."""
    lock, working, most = Lock(), 0, 0

    def numbered(number: int) -> Callable[[Patience], int]:
        def work(_: Patience) -> int:
            nonlocal working, most
            with lock:
                working += 1
                most = max(most, working)
            time.sleep(0.01)
            with lock:
                working -= 1
            return number

        return work

    async with ingesting(Gate()) as ingest:
        places = places_beside(ingest)
        answers = await asyncio.gather(*(places.take(numbered(number), stays) for number in range(20)))
    assert answers == list(range(20))
    assert most == PLACES


async def test_what_fails_gives_its_place_free() -> None:
    """An error is the caller's own."""

    def fail(_: Patience) -> None:
        raise ZeroDivisionError

    async with ingesting(Gate()) as ingest:
        places = places_beside(ingest)
        results = await asyncio.gather(*(places.take(fail, stays) for _ in range(2 * PLACES)), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2 * PLACES


async def test_a_place_rests_while_messages_wait() -> None:
    """The answer is given at once; the next report begins only after a rest, long against the turn before it."""
    gate, begun = Gate(), Event()
    async with ingesting(gate) as ingest:
        places = places_beside(ingest)
        ingest.put(some(1), lambda _: None)

        await asyncio.gather(*(places.take(lambda _: time.sleep(0.1), stays) for _ in range(PLACES)))
        following = asyncio.create_task(places.take(lambda _: begun.set(), stays))
        await turns()

        assert not begun.is_set()
        await following
        assert begun.is_set()


async def test_only_so_many_may_wait() -> None:
    """One too many is refused at once, with the time to come back after; those before it get their turn."""
    async with ingesting(Gate()) as ingest:
        places, busy = places_beside(ingest), Busy()
        async with busy.at_all_places(places):
            waiting = [asyncio.create_task(places.take(lambda _: 1, stays)) for _ in range(WAITING_MAX)]
            await turns()
            with pytest.raises(Overloaded):
                await places.take(lambda _: 1, stays)
        assert [1] * WAITING_MAX == await asyncio.gather(*waiting)
        assert 2 == await places.take(lambda _: 2, stays)


async def test_who_waits_too_long_is_told_so_and_not_served() -> None:
    """At its deadline a report that waits is refused; its turn is somebody else's, and there is room to wait again."""
    begun: list[int] = []
    async with ingesting(Gate()) as ingest:
        places, busy = places_beside(ingest, report_s=0.2), Busy()
        async with busy.at_all_places(places):
            late = [places.take(lambda _: begun.append(1), stays) for _ in range(WAITING_MAX - PLACES)]
            results = await asyncio.gather(*late, return_exceptions=True)
            assert {ReportTooSlow} == set(map(type, results))
        await places.take(lambda _: begun.append(2), stays)
    assert [2] == begun


@pytest.mark.parametrize("obedient", [True, False])
async def test_work_that_takes_too_long_is_given_up(obedient: bool) -> None:
    """The caller is told at the deadline, whether or not the work heeds its patience; its place is free after it."""
    async with ingesting(Gate()) as ingest:
        places, busy = places_beside(ingest, report_s=0.2), Busy(obedient=obedient)
        async with busy.at_all_places(places) as tasks:
            results = await asyncio.gather(*tasks, return_exceptions=True)

            assert [ReportTooSlow] * PLACES == list(map(type, results))
            if obedient:
                assert 1 == await places.take(lambda _: 1, stays)
            else:
                with pytest.raises(ReportTooSlow):
                    await places.take(lambda _: 1, stays)
        assert 2 == await places.take(lambda _: 2, stays)


async def test_nobody_is_served_who_has_hung_up() -> None:
    """A report that waits is not begun, and one that is being reckoned goes no further."""
    begun: list[int] = []
    async with ingesting(Gate()) as ingest:
        places, busy, gone = places_beside(ingest), Busy(obedient=True), asyncio.Event()
        async with busy.at_all_places(places):
            waiting = asyncio.create_task(places.take(lambda _: begun.append(1), gone.wait))
            await turns()
            gone.set()
            with pytest.raises(ClientDisconnect):
                await waiting
        busy.end.clear()
        gone.clear()
        working = asyncio.create_task(places.take(busy, gone.wait))
        await busy.begins()
        gone.set()
        with pytest.raises(ClientDisconnect):
            await working
        for _ in range(PLACES):
            await places.take(lambda _: begun.append(2), stays)
    assert [2] * PLACES == begun


async def test_a_server_that_stops_waits_for_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports at work and in wait are given a moment more, and then told to come back."""
    monkeypatch.setattr(module, "STOP_S", 0.1)
    async with ingesting(Gate()) as ingest:
        closing = asyncio.Event()
        places, busy = places_beside(ingest, closing=closing), Busy(obedient=True)
        async with busy.at_all_places(places) as tasks:
            waiting = asyncio.create_task(places.take(lambda _: 1, stays))
            await turns()
            closing.set()
            results = await asyncio.gather(*tasks, waiting, return_exceptions=True)

    assert [StoreUnavailable] * (PLACES + 1) == list(map(type, results))
