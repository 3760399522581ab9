"""Every ledger keeps an audit trail: who ordered what, when, from where, with which result, and for ever."""

from contextlib import closing

import pytest

from heatfleet.domain.access import LOCAL, Actor, AuditEntry
from heatfleet.errors import KeyReused, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger
from tests.contract.ledgers import BY, DAY_MS, NOW_MS, TTL_MS, accept, order, publish, settle

OTHER = Actor(LOCAL, "127.0.0.1")


def noted(ledger: Ledger, now_ms: int = NOW_MS) -> list[AuditEntry]:
    """The whole trail."""
    return [entry for _, entry in ledger.audit(now_ms)]


def refused(device_id: str, at_ms: int = NOW_MS, by: Actor = BY) -> AuditEntry:
    """An order that was not accepted."""
    return AuditEntry(at_ms, by, "order", device_id, "off", "key-reused")


def test_an_order_is_noted_as_it_is_accepted(url: str) -> None:
    """Who gave the order, from where, when, to which device and what: on disk once it is accepted."""
    first, second = order("d1"), order("d2", NOW_MS + 5, switch=False)
    with closing(open_ledger(url)) as ledger:
        accept(ledger, first, by=BY)
        accept(ledger, second, by=OTHER)
    with closing(open_ledger(url, writable=False)) as ledger:
        assert [
            AuditEntry(NOW_MS, BY, "order", "d1", "on", "accepted", first.command_id),
            AuditEntry(NOW_MS + 5, OTHER, "order", "d2", "off", "accepted", second.command_id),
        ] == noted(ledger)


def test_the_result_of_an_order_is_its_state(ledger: Ledger) -> None:
    """An order is told as it stands at the time of asking."""
    failed = order("d1")
    accept(ledger, failed, by=BY)
    settle(ledger, failed.command_id, "failed", NOW_MS)
    publish(ledger, order("d2"))
    publish(ledger, order("d2"))
    accept(ledger, order("d3"), by=BY)

    assert ["failed", "superseded", "published", "accepted"] == [entry.result for entry in noted(ledger)]
    assert "expired" == noted(ledger, NOW_MS + TTL_MS)[2].result


def test_a_repeated_order_is_noted_as_one(ledger: Ledger) -> None:
    """Each request leaves a line; one that stands for an earlier order says so, and names that order."""
    first = accept(ledger, order(), by=BY, idempotency_key="k").command
    accept(ledger, order(at_ms=NOW_MS + 9), by=BY, idempotency_key="k")
    settle(ledger, first.command_id, "published", NOW_MS + 10)

    assert [(NOW_MS, "published", first.command_id), (NOW_MS + 9, "repeated", first.command_id)] == [
        (entry.at_ms, entry.result, entry.command_id) for entry in noted(ledger)
    ]


def test_what_is_not_accepted_leaves_no_order_in_the_trail(ledger: Ledger) -> None:
    """The line and its order are one: where the order is not written, there is no line either."""
    known = accept(ledger, order(), by=BY, idempotency_key="k").command
    with pytest.raises(KeyReused):
        accept(ledger, order("d2"), by=BY, idempotency_key="k")
    with pytest.raises(StoreUnavailable):
        ledger.accept_many([order("d3"), known], by=BY)

    assert [known.command_id] == [entry.command_id for entry in noted(ledger)]


def test_other_lines_are_kept_as_they_are(url: str) -> None:
    """What was refused, and what was done to keys, is noted in the words it came with."""
    entries = [refused("d1"), AuditEntry(NOW_MS, Actor("cli", "root"), "key-create", "4fGh71Qa", "ingest", "done")]
    with closing(open_ledger(url)) as ledger:
        ledger.note(*entries)
        ledger.note()
        ledger.note(refused("d2"))
    with closing(open_ledger(url)) as ledger:
        assert [*entries, refused("d2")] == noted(ledger)


def test_the_trail_is_asked_for_a_part(ledger: Ledger) -> None:
    """By time, by what it is about and by who acted; with both names, what fits either."""
    by_local = AuditEntry(NOW_MS + 2, OTHER, "key-revoke", BY.name, "", "done")
    ledger.note(refused("d1"), refused("d2", NOW_MS + 1), by_local, refused("d1", NOW_MS + 3), refused("d3", by=OTHER))

    def numbers(**asked: int | str) -> list[int]:
        return [number for number, _ in ledger.audit(NOW_MS, **asked)]  # type: ignore[arg-type]

    assert [1, 2, 3, 4, 5] == numbers()
    assert [2, 3, 4] == numbers(since_ms=NOW_MS + 1)
    assert [2, 3] == numbers(since_ms=NOW_MS + 1, until_ms=NOW_MS + 3)
    assert [] == numbers(since_ms=NOW_MS + DAY_MS)
    assert [1, 4] == numbers(subject="d1")
    assert [4] == numbers(subject="d1", since_ms=NOW_MS + 1)
    assert [3, 5] == numbers(actor=LOCAL)
    assert [1, 2, 3, 4] == numbers(subject=BY.name, actor=BY.name)
    assert [1, 2, 3] == numbers(subject=BY.name, actor=BY.name, limit=3)
    assert [2, 3, 4] == numbers(subject=BY.name, actor=BY.name, limit=3, newest=True)
    assert [4, 5] == numbers(limit=2, newest=True)
    assert [2, 3, 4] == numbers(since_ms=NOW_MS + 1, newest=True)
    assert [] == numbers(subject="nobody")


def test_the_trail_is_read_page_by_page(ledger: Ledger) -> None:
    """Going on after the last line that was read gives every line once, in order."""
    ledger.note(*(refused(f"d{number}", NOW_MS + number) for number in range(25)))
    seen: list[tuple[int, AuditEntry]] = []
    while page := ledger.audit(NOW_MS, since_ms=NOW_MS + 3, after=seen[-1][0] if seen else 0, limit=7):
        seen += page

    assert [f"d{number}" for number in range(3, 25)] == [entry.subject for _, entry in seen]


def test_a_clock_that_goes_back_hides_nothing(ledger: Ledger) -> None:
    """Lines stand in the order in which they were written, and every one since a time is found."""
    ledger.note(refused("d1", NOW_MS + 9), refused("d2", NOW_MS), refused("d3", NOW_MS + 5))

    assert ["d1", "d3"] == [entry.subject for _, entry in ledger.audit(NOW_MS, since_ms=NOW_MS + 5)]


def test_a_key_belongs_to_its_caller(ledger: Ledger) -> None:
    """The same Idempotency-Key from two callers stands for two orders, whether they are equal or not."""
    first = accept(ledger, order(), by=BY, idempotency_key="k").command
    second = accept(ledger, order(), by=OTHER, idempotency_key="k").command
    third = accept(ledger, order("d2"), by=Actor("another1", BY.address), idempotency_key="k").command

    assert 3 == len({first.command_id, second.command_id, third.command_id})
    assert first == accept(ledger, order(), by=Actor(BY.name, "198.51.100.1"), idempotency_key="k").command
    assert second == accept(ledger, order(), by=OTHER, idempotency_key="k").command
