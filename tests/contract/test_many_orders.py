"""Every ledger takes many orders at once as it takes one, and all or none of them."""

from contextlib import closing

import pytest

from heatfleet.domain.access import AuditEntry
from heatfleet.domain.commands import Command, CommandRecord
from heatfleet.errors import KeyReused, NotFound, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger
from tests.contract.ledgers import BY, NOW_MS, accept, devices, order, unsettled


def orders(*device_ids: str, at_ms: int = NOW_MS) -> list[Command]:
    """One order for each."""
    return [order(device_id, at_ms) for device_id in device_ids]


def settle(ledger: Ledger, commands: list[Command], *states: str) -> list[CommandRecord]:
    """Settle these orders."""
    ids = [command.command_id for command in commands]
    return list(ledger.settle_many(list(zip(ids, states, strict=True)), NOW_MS + 9))  # type: ignore[arg-type]


def test_accepted_orders_are_on_disk(url: str) -> None:
    """All of them, each with its line in the audit trail, in the order they came in."""
    commands = orders("d1", "d2", "d1")
    with closing(open_ledger(url)) as ledger:
        accepted = ledger.accept_many(commands, by=BY)
    with closing(open_ledger(url)) as ledger:
        assert [CommandRecord(command, "accepted", 0, None) for command in commands] == list(accepted)
        assert list(accepted) == [ledger.command(command.command_id, NOW_MS) for command in commands]
        assert [
            AuditEntry(NOW_MS, BY, "order", command.device_id, "on", "accepted", command.command_id)
            for command in commands
        ] == [entry for _, entry in ledger.audit(NOW_MS)]


def test_what_became_of_orders_is_noted_in_their_order(url: str) -> None:
    """Published ones get growing places, failed ones none; of two for one device the later supersedes."""
    commands = orders("d1", "d2", "d3", "d1")
    with closing(open_ledger(url)) as ledger:
        ledger.accept_many(commands, by=BY)
        settled = settle(ledger, commands, "published", "failed", "published", "published")
    with closing(open_ledger(url)) as ledger:
        assert settled == [ledger.command(command.command_id, NOW_MS + 9) for command in commands]
        assert settled[2:] == list(ledger.open_orders(devices("d1", "d2", "d3"), NOW_MS + 9))
    assert ["superseded", "failed", "published", "published"] == [record.state for record in settled]
    assert 0 == settled[1].sequence
    assert settled[0].sequence < settled[2].sequence < settled[3].sequence


def test_orders_are_accepted_all_or_none(ledger: Ledger) -> None:
    """When one of them cannot be written, none is, and nobody is told otherwise by the audit trail."""
    [known] = orders("d1")
    accept(ledger, known, by=BY)
    new = orders("d2", "d3")
    with pytest.raises(StoreUnavailable):
        ledger.accept_many([new[0], known, new[1]], by=BY, idempotency_key="k")

    assert [None, None] == [ledger.command(command.command_id, NOW_MS) for command in new]
    assert [known.command_id] == [entry.command_id for _, entry in ledger.audit(NOW_MS)]
    assert new == [record.command for record in ledger.accept_many(new, by=BY, idempotency_key="k")]


def test_orders_are_settled_all_or_none(ledger: Ledger) -> None:
    """An id never accepted among them is refused, and nothing is noted of the others."""
    commands = orders("d1", "d2")
    ledger.accept_many(commands, by=BY)
    with pytest.raises(NotFound):
        settle(ledger, [*commands, *orders("d3")], "published", "published", "published")

    assert 2 == unsettled(ledger)


def test_a_key_stands_for_all_orders_of_a_request(ledger: Ledger) -> None:
    """The same orders in the same order with the same key lead to the earlier records, and write nothing but lines."""
    first = ledger.accept_many(orders("d1", "d2"), by=BY, idempotency_key="k")
    settle(ledger, [record.command for record in first], "published", "published")
    again = ledger.accept_many(orders("d1", "d2", at_ms=NOW_MS + 20), by=BY, idempotency_key="k")

    assert [record.command for record in first] == [record.command for record in again]
    assert ["published", "published"] == [record.state for record in again]
    assert ["published", "published", "repeated", "repeated"] == [entry.result for _, entry in ledger.audit(NOW_MS)]
    assert 0 == unsettled(ledger)


@pytest.mark.parametrize("others", [["d1"], ["d1", "d2", "d3"], ["d2", "d1"], ["d1", "d3"]])
def test_a_key_does_not_stand_for_other_orders(ledger: Ledger, others: list[str]) -> None:
    """Fewer, more, or others, or in another order: refused, and none of them written."""
    ledger.accept_many(orders("d1", "d2"), by=BY, idempotency_key="k")
    asked = orders(*others)

    with pytest.raises(KeyReused):
        ledger.accept_many(asked, by=BY, idempotency_key="k")
    assert {None} == {ledger.command(command.command_id, NOW_MS) for command in asked}


def test_with_the_same_key_failed_orders_may_be_tried_again(ledger: Ledger) -> None:
    """Those that were sent are given back, those that failed are new orders, for which the key stands from then on."""
    first = orders("d1", "d2", "d3")
    ledger.accept_many(first, by=BY, idempotency_key="k")
    settle(ledger, first, "published", "failed", "published")
    second = orders("d1", "d2", "d3", at_ms=NOW_MS + 20)
    records = ledger.accept_many(second, by=BY, idempotency_key="k")
    third = ledger.accept_many(orders("d1", "d2", "d3"), by=BY, idempotency_key="k")

    assert [first[0], second[1], first[2]] == [record.command for record in records]
    assert ["published", "accepted", "published"] == [record.state for record in records]
    assert [record.command for record in records] == [record.command for record in third]
    assert ["repeated", "accepted", "repeated"] == [entry.result for _, entry in ledger.audit(NOW_MS)][3:6]
