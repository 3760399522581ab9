"""Giving orders: on disk first, then to the bus in time or never, and once for each Idempotency-Key."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.domain.commands import Command, CommandRecord
from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import BusUnavailable, KeyReused, NotFound, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Settled
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite.ledger import SqliteLedger
from tests.contract.ledgers import accept, unsettled
from tests.unit.gated_desk import BY, NOW_MS, TTL_S, devices, open_office


class ForgetfulLedger(SqliteLedger):
    """A ledger whose disk fails at the first attempt to settle an order."""

    fails = 1

    def settle_many(self, outcomes: Sequence[Settled], at_ms: int) -> list[CommandRecord]:
        """Fail once, then settle."""
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("the disk is full")
        return super().settle_many(outcomes, at_ms)


async def test_an_order_is_published(tmp_path: Path) -> None:
    """An order for a device nobody has heard of is carried as given, lives for its ttl, and is told by its id."""
    async with open_office(tmp_path) as office:
        record = await office.desk.send("d1", by=BY, switch=False)
        command = record.command

        assert Command(command.command_id, "d1", None, False, NOW_MS, NOW_MS + TTL_S * 1000) == command
        assert (record.state, record.settled_at_ms) == ("published", NOW_MS)
        assert [command] == office.bus.carried
        assert record == await office.desk.command(command.command_id)
        assert (1.0, 1.0, None) == tuple(office.counted(state) for state in ("accepted", "published", "failed"))


async def test_an_order_names_the_product_of_its_device(tmp_path: Path) -> None:
    """The product is the one that the device was last heard as."""
    async with open_office(tmp_path) as office:
        office.store.append([Block.of([Reading("d1", "ixhko1cls7lzpwsf", POWER, NOW_MS, 1500.0)])], NOW_MS)
        office.store.rollup(NOW_MS + 1)
        record = await office.desk.send("d1", by=BY, switch=True)

    assert "ixhko1cls7lzpwsf" == record.command.product_id


async def test_an_order_is_on_disk_before_the_bus_gets_it(tmp_path: Path) -> None:
    """While the bus has not answered, the order is accepted and nobody is told that it was sent."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        sending = asyncio.create_task(office.desk.send("d1", by=BY, switch=True, idempotency_key="k"))
        await office.bus.one_more_brought()
        accepted = accept(office.ledger, _like("d1"), by=BY, idempotency_key="k")

        assert "accepted" == accepted.state
        assert not sending.done()
        office.bus.gate.set()
        assert accepted.command == (await sending).command


async def test_an_id_never_given(tmp_path: Path) -> None:
    """There is nothing to tell of an order that never was."""
    async with open_office(tmp_path) as office:
        with pytest.raises(NotFound):
            await office.desk.command("nobody")


async def test_a_bus_that_does_not_answer_in_time(tmp_path: Path) -> None:
    """After the deadline the order is failed, and it is not sent later either, when the bus answers again."""
    async with open_office(tmp_path, timeout_s=0.02) as office:
        office.bus.gate.clear()
        with pytest.raises(BusUnavailable, match="did not answer"):
            await office.desk.send("d1", by=BY, switch=True)
        office.bus.gate.set()
        await asyncio.sleep(0)

        assert [] == office.bus.carried
        assert 1.0 == office.counted("failed")
        assert office.ledger.last_order("d1", NOW_MS) is None
        assert 0 == unsettled(office.ledger)


async def test_a_bus_that_refuses(tmp_path: Path) -> None:
    """The bus's own refusal is passed on, and the order is failed."""
    async with open_office(tmp_path) as office:
        office.bus.refuses = True
        with pytest.raises(BusUnavailable, match="the broker is away"):
            await office.desk.send("d1", by=BY, switch=True)

        assert 1.0 == office.counted("failed")


async def test_a_crash_between_accept_and_settle(tmp_path: Path) -> None:
    """An order that a dead server left as accepted is settled as failed at the next start, and never published."""
    with closing(open_ledger(f"sqlite:///{tmp_path}/heatfleet.db")) as ledger:
        left = accept(ledger, _like("d1"), by=BY, idempotency_key="k").command
    async with open_office(tmp_path) as office, office.desk.follow(devices("d1")) as orders:
        assert "failed" == (await office.desk.command(left.command_id)).state

        again = await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        assert left.command_id != again.command.command_id
        assert [again.command] == office.bus.carried
        assert again == await anext(aiter(orders))


async def test_a_client_that_gives_up_does_not_stop_its_order(tmp_path: Path) -> None:
    """Once an order is on its way it ends in a known state, whether or not somebody waits for it."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        sending = asyncio.create_task(office.desk.send("d1", by=BY, switch=True))
        await office.bus.one_more_brought()
        sending.cancel()
        await asyncio.wait([sending])
        office.bus.gate.set()
    with closing(open_ledger(f"sqlite:///{tmp_path}/heatfleet.db")) as ledger:
        record = ledger.last_order("d1", NOW_MS)

    assert "published" == (record and record.state)


async def test_a_repeated_order_is_not_sent_again(tmp_path: Path) -> None:
    """The same key with the same order gives the first record, for 24 h, also after it expired."""
    async with open_office(tmp_path) as office:
        first = await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        assert first == await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        office.clock.now_ms += 24 * 3_600_000 - 1
        late = await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")

        assert (first.command, "expired") == (late.command, late.state)
        assert [first.command] == office.bus.carried
        assert (1.0, 2.0) == (office.counted("accepted"), office.counted("repeated"))


async def test_racing_repeats_are_one_order(tmp_path: Path) -> None:
    """Equal requests at the same time share one order and all wait for its outcome."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        racers = [
            asyncio.create_task(office.desk.send("d1", by=BY, switch=True, idempotency_key="k")) for _ in range(20)
        ]
        await office.bus.one_more_brought()
        office.bus.gate.set()
        records = await asyncio.gather(*racers)

        assert 1 == len(office.bus.brought)
        assert {"published"} == {record.state for record in records}
        assert {office.bus.carried[0]} == {record.command for record in records}


async def test_racing_repeats_fail_together(tmp_path: Path) -> None:
    """When the one order of a race fails, all are refused; the key may then be tried again."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        racers = [
            asyncio.create_task(office.desk.send("d1", by=BY, switch=True, idempotency_key="k")) for _ in range(5)
        ]
        await office.wait_until_counted("repeated", 4)
        office.bus.refuses = True
        office.bus.gate.set()
        outcomes = await asyncio.gather(*racers, return_exceptions=True)
        office.bus.refuses = False

        assert {BusUnavailable} == {type(outcome) for outcome in outcomes}
        assert 1 == len(office.bus.brought)
        assert "published" == (await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")).state


async def test_a_key_of_another_order(tmp_path: Path) -> None:
    """A key that was used for another order is refused, and nothing is sent."""
    async with open_office(tmp_path) as office:
        await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        with pytest.raises(KeyReused):
            await office.desk.send("d1", by=BY, switch=False, idempotency_key="k")

        assert 1 == len(office.bus.carried)


async def test_a_ledger_that_fails_to_settle(tmp_path: Path) -> None:
    """Nobody is told "sent" before it is on disk; the retry with the same key brings the very same order."""
    async with open_office(tmp_path, ledger=ForgetfulLedger(f"{tmp_path}/heatfleet.db")) as office:
        with pytest.raises(StoreUnavailable):
            await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        record = await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")

        assert "published" == record.state
        assert [record.command] * 2 == office.bus.carried


async def test_an_expired_order_is_never_published(tmp_path: Path) -> None:
    """An order whose outcome was never noted is not sent once its time is over; after that the key is free."""
    async with open_office(tmp_path, ledger=ForgetfulLedger(f"{tmp_path}/heatfleet.db")) as office:
        with pytest.raises(StoreUnavailable):
            await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")
        office.clock.now_ms += TTL_S * 1000
        with pytest.raises(BusUnavailable, match="expired"):
            await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")

        assert 1 == len(office.bus.brought)
        assert "published" == (await office.desk.send("d1", by=BY, switch=True, idempotency_key="k")).state


async def test_orders_of_one_device_take_turns(tmp_path: Path) -> None:
    """The bus and the ledger agree on which order of a device is the last, however they were given."""
    async with open_office(tmp_path) as office:
        records = await asyncio.gather(*(office.desk.send("d1", by=BY, switch=bool(n % 2)) for n in range(30)))
        published = sorted(records, key=lambda record: record.sequence)

        assert [record.command for record in published] == office.bus.carried
        assert published[-1] == office.ledger.last_order("d1", NOW_MS)


async def test_one_device_does_not_hold_up_another(tmp_path: Path) -> None:
    """An order that waits for its turn, or for the bus, is no reason for another device to wait."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        first, second = (asyncio.create_task(office.desk.send("d1", by=BY, switch=on)) for on in (True, False))
        await office.bus.one_more_brought()
        other = asyncio.create_task(office.desk.send("d2", by=BY, switch=True))
        await office.bus.one_more_brought()
        assert ["d1", "d2"] == [command.device_id for command in office.bus.brought]
        office.bus.gate.set()
        await asyncio.gather(first, second, other)

        assert ["d1", "d1", "d2"] == sorted(command.device_id for command in office.bus.carried)


async def test_waiting_for_a_turn_counts(tmp_path: Path) -> None:
    """Orders that pile up behind a dead bus all fail at their own deadline, not one deadline after the other."""
    async with open_office(tmp_path, timeout_s=0.2) as office:
        office.bus.gate.clear()
        orders = (office.desk.send("d1", by=BY, switch=True) for _ in range(40))
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*orders, return_exceptions=True)

        assert {BusUnavailable} == {type(outcome) for outcome in outcomes}
        assert [] == office.bus.carried
        assert 40.0 == office.counted("failed")


def _like(device_id: str) -> Command:
    return Command("0f8b6a52", device_id, None, True, NOW_MS, NOW_MS + TTL_S * 1000)
