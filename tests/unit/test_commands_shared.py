"""Several desks on one ledger, as several servers have it: an order is given once and heard everywhere."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heatfleet.commands import follower
from heatfleet.domain.commands import CommandRecord
from heatfleet.errors import BusUnavailable
from heatfleet.storage import open_ledger
from tests.contract.ledgers import accept, order
from tests.postgres import shared_postgres
from tests.unit.gated_desk import BY, NOW_MS, Office, devices, open_office

WAIT_S = 60


@pytest.fixture
def url() -> str:
    """The address of an empty ledger that desks share."""
    return shared_postgres().fresh_url()


@asynccontextmanager
async def open_offices(folder: Path, url: str) -> AsyncIterator[tuple[Office, Office]]:
    """Two desks, each with a store and a bus of its own."""
    for name in ("here", "there"):
        (folder / name).mkdir(parents=True)
    async with (
        open_office(folder / "here", ledger=open_ledger(url)) as here,
        open_office(folder / "there", ledger=open_ledger(url)) as there,
    ):
        yield here, there


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return when something has come true that another process brings about."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_same_key_at_two_servers_is_one_order(tmp_path: Path, url: str) -> None:
    """The second server sends nothing: it waits for what becomes of the order, and gives the same record."""
    async with open_offices(tmp_path, url) as (here, there):
        here.bus.gate.clear()
        first = asyncio.create_task(here.desk.send("d1", switch=True, by=BY, idempotency_key="k"))
        await here.bus.one_more_brought()
        second = asyncio.create_task(there.desk.send("d1", switch=True, by=BY, idempotency_key="k"))
        await there.wait_until_counted("repeated", 1)
        assert not second.done()
        here.bus.gate.set()

        assert await first == await second
        assert ([(await first).command], []) == (here.bus.carried, there.bus.brought)


async def test_an_order_that_failed_at_another_server_is_told_as_failed(tmp_path: Path, url: str) -> None:
    """Who repeated it is refused too, and may try again with the same key, at whichever server."""
    async with open_offices(tmp_path, url) as (here, there):
        here.bus.gate.clear()
        here.bus.refuses = True
        first = asyncio.create_task(here.desk.send("d1", switch=True, by=BY, idempotency_key="k"))
        await here.bus.one_more_brought()
        second = asyncio.create_task(there.desk.send("d1", switch=True, by=BY, idempotency_key="k"))
        await there.wait_until_counted("repeated", 1)
        here.bus.gate.set()

        for sending in (first, second):
            with pytest.raises(BusUnavailable):
                await sending
        again = await there.desk.send("d1", switch=True, by=BY, idempotency_key="k")
        assert [again.command] == there.bus.carried


async def test_a_server_that_starts_leaves_the_orders_of_others_alone(tmp_path: Path, url: str) -> None:
    """What a living server has under way is published, however many others start meanwhile."""
    async with open_office(tmp_path, ledger=open_ledger(url)) as here:
        here.bus.gate.clear()
        sending = asyncio.create_task(here.desk.send("d1", switch=True, by=BY))
        await here.bus.one_more_brought()
        async with open_offices(tmp_path / "more", url) as (_, there):
            assert 0 == there.ledger.fail_unsettled(NOW_MS)
            here.bus.gate.set()

            assert "published" == (await sending).state


async def test_what_a_dead_server_left_is_settled_by_others(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon, and without a start or a repetition: it is noted as failed and never sent."""
    monkeypatch.setattr(follower, "LOOK_AFTER_S", 0.0)
    gone = open_ledger(url)
    async with open_office(tmp_path, ledger=open_ledger(url)) as here:
        left = accept(gone, order(), by=BY)
        gone.close()

        async def is_settled() -> bool:
            return (await here.desk.command(left.command.command_id)).state == "failed"

        await until(is_settled)
        assert [] == here.bus.brought


async def test_an_order_noted_as_failed_by_others_is_not_told_as_sent(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should PostgreSQL lose sight of a server that lives, its caller is told to try again, and it goes on."""
    monkeypatch.setattr(follower, "FOLLOW_S", WAIT_S)  # it would be seen again before others look
    async with open_offices(tmp_path, url) as (here, there):
        here.bus.gate.clear()
        sending = asyncio.create_task(here.desk.send("d1", switch=True, by=BY, idempotency_key="k"))
        await here.bus.one_more_brought()
        shared_postgres().as_admin("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        await until(lambda: asyncio.to_thread(there.ledger.fail_unsettled, NOW_MS))
        here.bus.gate.set()

        with pytest.raises(BusUnavailable, match="try again"):
            await sending
        again = await here.desk.send("d1", switch=True, by=BY, idempotency_key="k")
        assert "published" == again.state
        assert 0 == there.ledger.fail_unsettled(NOW_MS)


async def test_a_listener_hears_the_orders_of_all_servers(tmp_path: Path, url: str) -> None:
    """Once each and in the order of their sequences, whichever server it listens to and which one was asked."""
    heard: dict[int, list[CommandRecord]] = {0: [], 1: []}
    names = [f"d{number}" for number in range(10)]

    async def listen(number: int, office: Office, ready: asyncio.Event) -> None:
        async with office.desk.follow(devices(*names)) as orders:
            ready.set()
            async for record in orders:
                heard[number].append(record)

    async with open_offices(tmp_path, url) as offices:
        readies = [asyncio.Event(), asyncio.Event()]
        listening = [
            asyncio.create_task(listen(number, office, readies[number])) for number, office in enumerate(offices)
        ]
        for ready in readies:
            await ready.wait()
        sent = await asyncio.gather(
            *(
                office.desk.send(name, switch=bool(turn % 2), by=BY)
                for turn in range(10)
                for office in offices
                for name in names
            )
        )

        async def all_heard() -> bool:
            return all(len(records) >= len(sent) for records in heard.values())

        await until(all_heard)
        for task in listening:
            task.cancel()
    expected = sorted(record.sequence for record in sent)
    assert [expected, expected] == [[record.sequence for record in records] for records in heard.values()]


async def test_a_listener_comes_back_to_another_server(tmp_path: Path, url: str) -> None:
    """With the last sequence that it has heard it misses nothing and hears nothing twice."""
    async with open_offices(tmp_path, url) as (here, there):
        first = await there.desk.send("d1", switch=True, by=BY)
        async with here.desk.follow(devices("d1", "d2")) as orders:
            assert first == await anext(aiter(orders))
        missed = [await here.desk.send(name, switch=False, by=BY) for name in ("d2", "d1")]
        async with there.desk.follow(devices("d1", "d2"), after=first.sequence) as orders:
            later = await here.desk.send("d2", switch=True, by=BY)
            iterator = aiter(orders)
            async with asyncio.timeout(WAIT_S):
                assert [*missed, later] == [await anext(iterator) for _ in range(3)]
