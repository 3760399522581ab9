"""Giving many orders at once: written down together, and each with an outcome of its own."""

import asyncio
from pathlib import Path

import pytest

from heatfleet.commands import Listener, Outcome
from heatfleet.domain.access import Actor
from heatfleet.domain.commands import Audience, CommandRecord
from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import BusUnavailable, KeyReused, Overloaded, StoreUnavailable
from heatfleet.storage.block import Block
from tests.contract.ledgers import unsettled
from tests.unit.gated_desk import BY, NOW_MS, TTL_S, Office, devices, open_office
from tests.unit.test_commands import ForgetfulLedger


def on(*device_ids: str) -> list[tuple[str, bool]]:
    """Switch these on."""
    return [(device_id, True) for device_id in device_ids]


async def send(office: Office, orders: list[tuple[str, bool]], key: str | None = None, by: Actor = BY) -> list[Outcome]:
    """Give these orders."""
    return list(await office.desk.send_many(orders, by=by, idempotency_key=key))


async def sent(office: Office, orders: list[tuple[str, bool]], key: str | None = None) -> list[CommandRecord]:
    """Give these orders, of which none is refused."""
    outcomes = await send(office, orders, key)
    assert not [outcome for outcome in outcomes if isinstance(outcome, BusUnavailable)]
    return [outcome for outcome in outcomes if isinstance(outcome, CommandRecord)]


def told(outcomes: list[Outcome]) -> list[str]:
    """The state of each, or that the bus refused it."""
    return ["refused" if isinstance(outcome, BusUnavailable) else outcome.state for outcome in outcomes]


async def heard(orders: Listener, number: int) -> list[CommandRecord]:
    """So many orders as they come."""
    reading = aiter(orders)
    return [await anext(reading) for _ in range(number)]


async def test_orders_are_published(tmp_path: Path) -> None:
    """Each is an order as if it had been given alone, with the product of its device, and listeners hear it once."""
    async with open_office(tmp_path) as office, office.desk.follow(Audience(product_id="p")) as listener:
        office.store.append([Block.of([Reading("d2", "p", POWER, NOW_MS, 1.0)])], NOW_MS)
        office.store.rollup(NOW_MS + 1)
        records = await sent(office, [("d1", True), ("d2", False), ("d3", True)])
        again = await sent(office, on("d2"))

        assert [("d1", None, True), ("d2", "p", False), ("d3", None, True)] == [
            (record.command.device_id, record.command.product_id, record.command.switch) for record in records
        ]
        assert {("published", NOW_MS, NOW_MS + TTL_S * 1000)} == {
            (record.state, record.settled_at_ms, record.command.expires_at_ms) for record in records
        }
        assert [record.command for record in records + again] == office.bus.carried
        assert [records[1], again[0]] == await heard(listener, 2)
        assert (4.0, 4.0, None) == tuple(office.counted(state) for state in ("accepted", "published", "failed"))


async def test_listeners_hear_many_in_the_order_of_publication(tmp_path: Path) -> None:
    """Whatever is sent at the same time, a listener hears every order once, and sequences only grow."""
    names = [f"d{number}" for number in range(60)]
    async with open_office(tmp_path) as office, office.desk.follow(devices(*names)) as listener:
        bulks = [sent(office, on(*names[start::3])) for start in range(3)]
        singles = [sent(office, on(name)) for name in names[::7]]
        records = [record for some in await asyncio.gather(*bulks, *singles) for record in some]
        ordered = sorted(records, key=lambda record: record.sequence)
        states = [record.command for record in await heard(listener, len(records))]

    assert [record.command for record in ordered] == states


async def test_the_later_of_two_orders_for_one_device_wins(tmp_path: Path) -> None:
    """Within one request too: the bus gets both in their order, and the earlier one is superseded."""
    async with open_office(tmp_path) as office:
        first, other, second = await sent(office, [("d1", True), ("d2", True), ("d1", False)])

        assert [first.command, other.command, second.command] == office.bus.carried
        assert second == office.ledger.last_order("d1", NOW_MS)
        assert "superseded" == (await office.desk.command(first.command.command_id)).state


async def test_orders_are_on_disk_before_the_bus_gets_them(tmp_path: Path) -> None:
    """While the bus has not answered all are accepted, in the audit trail too, and nobody is told "sent"."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        sending = asyncio.create_task(sent(office, on("d1", "d2")))
        await office.bus.one_more_brought()

        assert not sending.done()
        assert [("d1", "accepted"), ("d2", "accepted")] == [
            (entry.subject, entry.result) for _, entry in office.ledger.audit(NOW_MS)
        ]
        office.bus.gate.set()
        await sending


async def test_a_bus_that_refuses_some(tmp_path: Path) -> None:
    """Each order has its own outcome; with the same key only those that failed are tried again."""
    async with open_office(tmp_path) as office:
        office.bus.refused = {"d2"}
        first = await send(office, on("d1", "d2", "d3"), "k")
        office.bus.refused = set()
        second = await send(office, on("d1", "d2", "d3"), "k")

        assert ["published", "refused", "published"] == told(first)
        assert [first[0], first[2]] == [second[0], second[2]]
        assert "published" == told(second)[1]
        assert ["d1", "d3", "d2"] == [command.device_id for command in office.bus.carried]
        assert (1.0, 2.0) == (office.counted("failed"), office.counted("repeated"))


async def test_a_bus_that_does_not_answer_in_time(tmp_path: Path) -> None:
    """All of them are failed then, and none is sent when the bus answers again."""
    async with open_office(tmp_path, timeout_s=0.02) as office:
        office.bus.gate.clear()
        outcomes = await send(office, on("d1", "d2"))
        office.bus.gate.set()
        await asyncio.sleep(0)

        assert ["refused", "refused"] == told(outcomes)
        assert [] == office.bus.carried
        assert 0 == unsettled(office.ledger)


async def test_a_repeated_request_sends_nothing_twice(tmp_path: Path) -> None:
    """At the same time or later: all who ask get the same orders; other orders with the key are refused."""
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        racers = [asyncio.create_task(send(office, on("d1", "d2"), "k")) for _ in range(5)]
        await office.wait_until_counted("repeated", 8)
        office.bus.gate.set()
        outcomes = [*await asyncio.gather(*racers), await send(office, on("d1", "d2"), "k")]

        assert [outcomes[0]] * 6 == outcomes
        assert ["published", "published"] == told(outcomes[0])
        assert 2 == len(office.bus.brought)
        with pytest.raises(KeyReused):
            await send(office, on("d2", "d1"), "k")
        stranger = await send(office, on("d2", "d1"), "k", by=Actor("another1", BY.address))
        assert ["published", "published"] == told(stranger)


async def test_a_ledger_that_fails_to_settle(tmp_path: Path) -> None:
    """Nobody is told "sent" before it is on disk; the retry with the same key brings the very same orders."""
    async with open_office(tmp_path, ledger=ForgetfulLedger(f"{tmp_path}/heatfleet.db")) as office:
        with pytest.raises(StoreUnavailable):
            await send(office, on("d1", "d2"), "k")
        records = await sent(office, on("d1", "d2"), "k")

        assert [record.command for record in records] * 2 == office.bus.carried


async def test_only_orders_that_are_still_alive_are_published(tmp_path: Path) -> None:
    """What expired while its outcome could not be noted is refused; the rest of the request is sent."""
    async with open_office(tmp_path, ledger=ForgetfulLedger(f"{tmp_path}/heatfleet.db")) as office:
        with pytest.raises(StoreUnavailable):
            await send(office, on("d1"), "k")
        office.clock.now_ms += TTL_S * 1000
        outcomes = await send(office, on("d1"), "k")
        again = await send(office, on("d1"), "k")

        assert (["refused"], ["published"]) == (told(outcomes), told(again))
        assert "expired" in str(outcomes[0])
        assert 2 == len(office.bus.brought)


async def test_requests_for_the_same_devices_do_not_wait_in_a_circle(tmp_path: Path) -> None:
    """Requests that name the same devices in every order all end, and the bus and the ledger agree on the last."""
    names = [f"d{number}" for number in range(12)]
    async with open_office(tmp_path) as office:
        async with asyncio.timeout(30):
            requests = [sent(office, on(*names[start:], *names[:start])) for start in range(12)]
            singles = [sent(office, [(name, False)]) for name in names]
            records = [record for some in await asyncio.gather(*requests, *singles) for record in some]
        ordered = sorted(records, key=lambda record: record.sequence)

        assert [record.command for record in ordered] == office.bus.carried
        for name in names:
            last = [command for command in office.bus.carried if command.device_id == name][-1]
            found = office.ledger.last_order(name, NOW_MS)
            assert last == (found and found.command)


async def test_too_many_orders_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the bus stands still orders pile up to a bound; more are refused, not written down, until there is room."""
    monkeypatch.setattr("heatfleet.commands.desk.ORDERS_WAITING_MAX", 100)
    async with open_office(tmp_path) as office:
        office.bus.gate.clear()
        many = asyncio.create_task(send(office, on(*(f"d{number}" for number in range(60)))))
        single = asyncio.create_task(send(office, on("e1")))
        await office.wait_until_counted("accepted", 61)
        with pytest.raises(Overloaded):
            await send(office, on(*(f"f{number}" for number in range(21))))
        other = asyncio.create_task(send(office, on("e2")))
        await office.wait_until_counted("accepted", 62)
        with pytest.raises(Overloaded):
            await office.desk.send("e3", switch=True, by=BY)
        office.bus.gate.set()
        await asyncio.gather(many, single, other)

        assert "published" == (await office.desk.send("e3", switch=True, by=BY)).state
        assert 63 == len(office.ledger.audit(NOW_MS))
