"""Reports take turns, and leave the interpreter to messages that wait."""

import asyncio
import time
from functools import partial
from threading import Event, Lock

from heatfleet.api.turns import PLACES, Turns
from tests.unit.test_ingest import Gate, ingesting, some, turns


async def test_only_a_few_work_at_a_time_and_all_get_their_turn() -> None:
    """Each gets its own answer, whoever waits."""
    lock, working, most = Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.01)
        with lock:
            working -= 1
        return number

    async with ingesting(Gate()) as ingest:
        places = Turns(ingest)
        answers = await asyncio.gather(*(places.take(partial(work, number)) for number in range(20)))
    assert answers == list(range(20))
    assert most == PLACES


async def test_what_fails_gives_its_place_free() -> None:
    """An error is the caller's own."""

    def fail() -> None:
        raise ZeroDivisionError

    async with ingesting(Gate()) as ingest:
        places = Turns(ingest)
        results = await asyncio.gather(*(places.take(fail) for _ in range(2 * PLACES)), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2 * PLACES


async def test_a_place_rests_while_messages_wait() -> None:
    """The answer is given at once; the next report begins only after a rest, long against the turn before it."""
    gate, begun = Gate(), Event()
    async with ingesting(gate) as ingest:
        places = Turns(ingest)
        ingest.put(some(1), lambda _: None)

        await asyncio.gather(*(places.take(lambda: time.sleep(0.1)) for _ in range(PLACES)))
        following = asyncio.create_task(places.take(begun.set))
        await turns()

        assert not begun.is_set()
        await following
        assert begun.is_set()
