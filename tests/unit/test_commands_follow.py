"""Listening for orders: the newest of each device first, then each as it is published, without gap or repetition."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from heatfleet.commands import WAITING_MAX, Listener
from heatfleet.domain.commands import Audience, CommandRecord
from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage.block import Block
from tests.unit.gated_desk import BY, NOW_MS, TTL_S, Office, devices, open_office


async def take(number: int, orders: AsyncIterator[CommandRecord]) -> list[CommandRecord]:
    """So many orders as they come."""
    return [await anext(orders) for _ in range(number)]


async def rest(orders: Listener) -> list[CommandRecord]:
    """What is heard until the listener is closed."""
    return [record async for record in orders]


async def test_a_device_that_was_away_gets_its_order(tmp_path: Path) -> None:
    """On connecting, the newest unexpired order of each device asked for comes first, in order of publication."""
    async with open_office(tmp_path) as office:
        sent = [await office.desk.send(device_id, by=BY, switch=on) for device_id, on in _switched("d1+ d2+ d1- d3+")]
        async with office.desk.follow(devices("d1", "d2", "d4")) as orders:
            assert [sent[1], sent[2]] == await take(2, aiter(orders))


async def test_orders_come_as_they_are_published(tmp_path: Path) -> None:
    """A listener hears every order for its devices, and none for others."""
    async with open_office(tmp_path) as office, office.desk.follow(devices("d1", "d2")) as orders:
        sent = [await office.desk.send(device_id, by=BY, switch=on) for device_id, on in _switched("d1+ d9+ d1- d2+")]

        assert [sent[0], sent[2], sent[3]] == await take(3, aiter(orders))


async def test_a_product_is_followed(tmp_path: Path) -> None:
    """Who follows a product hears of every device that was last heard as that product, before and after."""
    async with open_office(tmp_path) as office:
        heard = [Reading("d1", "p", POWER, NOW_MS, 0.0), Reading("d2", "p", POWER, NOW_MS, 0.0)]
        office.store.append([Block.of([*heard, Reading("d3", "q", POWER, NOW_MS, 0.0)])], NOW_MS)
        office.store.rollup(NOW_MS + 1)
        before = [await office.desk.send(device_id, by=BY, switch=True) for device_id in ("d1", "d3", "d9")]
        async with office.desk.follow(Audience(product_id="p")) as orders:
            after = [await office.desk.send(device_id, by=BY, switch=True) for device_id in ("d9", "d2")]

            assert [before[0], after[1]] == await take(2, aiter(orders))


async def test_expired_orders_are_not_heard(tmp_path: Path) -> None:
    """An order is neither replayed nor delivered once its time is over, also if it was in line before."""
    async with open_office(tmp_path) as office:
        await office.desk.send("d1", by=BY, switch=True)
        async with office.desk.follow(devices("d1")) as early:
            office.clock.now_ms += TTL_S * 1000
            async with office.desk.follow(devices("d1")) as late:
                fresh = await office.desk.send("d1", by=BY, switch=False)

                assert [fresh] == await take(1, aiter(early))
                assert [fresh] == await take(1, aiter(late))


async def test_a_failed_order_is_not_heard(tmp_path: Path) -> None:
    """What the bus did not take reaches nobody."""
    async with open_office(tmp_path, timeout_s=0.02) as office, office.desk.follow(devices("d1")) as orders:
        office.bus.gate.clear()
        await asyncio.gather(office.desk.send("d1", by=BY, switch=True), return_exceptions=True)
        office.bus.gate.set()
        sent = await office.desk.send("d1", by=BY, switch=False)

        assert [sent] == await take(1, aiter(orders))


async def test_coming_back_leaves_no_gap_and_repeats_nothing(tmp_path: Path) -> None:
    """A listener that hangs up after every few orders, while others are sent, has heard each exactly once."""
    names = [f"d{number}" for number in range(120)]
    async with open_office(tmp_path) as office:
        sending = asyncio.gather(*(_send_some(office, names[start::8]) for start in range(8)))
        heard: list[CommandRecord] = []
        while len(heard) < len(names):
            async with office.desk.follow(devices(*names), after=heard[-1].sequence if heard else 0) as orders:
                heard += await take(min(7, len(names) - len(heard)), aiter(orders))
        sent = await sending

    assert sorted((record for some in sent for record in some), key=lambda record: record.sequence) == heard


async def test_a_slow_listener_is_closed_and_comes_back(tmp_path: Path) -> None:
    """Orders are never skipped in silence: the listener ends, and coming back it hears what it missed."""
    async with open_office(tmp_path) as office:
        async with office.desk.follow(devices("d1", "d2")) as orders:
            first = await office.desk.send("d1", by=BY, switch=True)
            reading = aiter(orders)
            assert first == await anext(reading)
            for _ in range(WAITING_MAX + 1):
                orders.tell(first)
            assert [] == [record async for record in reading]
        missed = await office.desk.send("d2", by=BY, switch=True)
        async with office.desk.follow(devices("d1", "d2"), after=first.sequence) as orders:
            assert [missed] == await take(1, aiter(orders))


@pytest.mark.parametrize("missed", [[1, 2], [1, 2, 3], [1, 2, 3, 4]])
async def test_what_is_told_during_the_replay_is_heard_once(tmp_path: Path, missed: list[int]) -> None:
    """Orders that come live while the ledger is asked are neither lost nor repeated."""
    async with open_office(tmp_path) as office:
        record = await office.desk.send("d1", by=BY, switch=True)
    orders = Listener(devices("d1"), after=0, clock=lambda: NOW_MS)
    for sequence in (3, 4):
        orders.tell(replace(record, sequence=sequence))
    orders.catch_up([replace(record, sequence=sequence) for sequence in missed])
    orders.tell(replace(record, sequence=5))

    assert [1, 2, 3, 4, 5] == [record.sequence for record in await take(5, aiter(orders))]


async def test_a_long_replay_does_not_make_a_listener_slow(tmp_path: Path) -> None:
    """What was missed takes no room from what comes live."""
    async with open_office(tmp_path) as office:
        record = await office.desk.send("d1", by=BY, switch=True)
    numbered = [replace(record, sequence=number + 1) for number in range(2 * WAITING_MAX)]
    orders = Listener(devices("d1"), after=0, clock=lambda: NOW_MS)
    orders.catch_up(numbered[:WAITING_MAX])
    for late in numbered[WAITING_MAX:]:
        orders.tell(late)

    assert numbered == await take(len(numbered), aiter(orders))


async def test_listeners_end_with_the_desk(tmp_path: Path) -> None:
    """Closing the desk ends every listener that waits, so that nobody holds up the shutdown."""
    async with open_office(tmp_path) as office:
        following = office.desk.follow(devices("d1"))
        listening = asyncio.create_task(rest(await following.__aenter__()))
        await asyncio.sleep(0)

    assert [] == await listening


def _switched(orders: str) -> list[tuple[str, bool]]:
    return [(order[:-1], order[-1] == "+") for order in orders.split()]


async def _send_some(office: Office, names: list[str]) -> list[CommandRecord]:
    return [await office.desk.send(name, by=BY, switch=True) for name in names]
