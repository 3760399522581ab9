"""Every ledger that servers share keeps the promises of ``storage.base.Ledger`` also when several are open at once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from threading import Barrier, Event
from typing import TypeVar

import pytest

from heatfleet.domain.access import AuditEntry
from heatfleet.domain.commands import CommandRecord
from heatfleet.storage import open_key_ring, open_ledger
from heatfleet.storage.base import Ledger
from tests.contract.conftest import ByHand, added, all_keys
from tests.contract.ledgers import BY, LEDGERS, NOW_MS, Backend, accept, order, settle, unsettled

SERVERS = 3
T = TypeVar("T")


@pytest.fixture(params=["postgresql"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The kinds of ledgers that servers share."""
    name: str = request.param
    return LEDGERS[name]


@pytest.fixture
def ledgers(url: str) -> Iterator[list[Ledger]]:
    """The same ledger, as several servers have it open."""
    with ExitStack() as opened:
        yield [opened.enter_context(closing(open_ledger(url))) for _ in range(SERVERS)]


def at_once(calls: int, call: Callable[[int], T]) -> list[T]:
    """What so many calls give that begin together."""
    start = Barrier(calls)

    def begin(number: int) -> T:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(begin, range(calls)))


def test_servers_that_start_at_once_make_the_tables_once(url: str) -> None:
    """Each finds them complete, and a key that one of them made at once."""

    def start(_: int) -> None:
        with closing(open_ledger(url)) as ledger, closing(open_key_ring(url)) as ring:
            accept(ledger, order(), by=BY)
            added(ring)

    at_once(6, start)
    with closing(open_ledger(url)) as ledger, closing(open_key_ring(url)) as ring:
        assert 6 == ledger.fail_unsettled(NOW_MS)
        assert 6 == len(all_keys(ring))


def test_a_race_for_a_key_has_one_winner_on_all_servers(ledgers: list[Ledger]) -> None:
    """Equal orders with one key at the same time are written once, and all are told the same orders."""
    for turn in range(5):

        def give(number: int, key: str = f"k{turn}") -> list[str]:
            orders = [order("d1"), order("d2")]
            records = ledgers[number % SERVERS].accept_many(orders, by=BY, idempotency_key=key)
            return [record.command.command_id for record in records]

        told = at_once(9, give)
        assert [told[0]] * 9 == told
    assert 5 * 2 == unsettled(ledgers[0])


def test_the_key_of_a_dead_server_may_be_used_at_once(ledgers: list[Ledger]) -> None:
    """What it left is settled as failed by whoever is asked for the same order, which is a new one then."""
    left = accept(ledgers[0], order(), by=BY, idempotency_key="k")
    assert left == accept(ledgers[1], order(), by=BY, idempotency_key="k")
    ledgers[0].close()
    again = order()

    assert again == accept(ledgers[1], again, by=BY, idempotency_key="k").command
    assert again == accept(ledgers[2], order(), by=BY, idempotency_key="k").command
    before = ledgers[2].command(left.command.command_id, NOW_MS)
    assert "failed" == (before and before.state)


def test_orders_of_living_servers_are_left_alone(ledgers: list[Ledger]) -> None:
    """Only what was left by those that are gone is settled as failed, whoever looks for it."""
    for number, ledger in enumerate(ledgers):
        accept(ledger, order(f"d{number}"), by=BY)
    assert [0] * SERVERS == [ledger.fail_unsettled(NOW_MS) for ledger in ledgers]
    ledgers[0].close()

    assert [1, 0] == [ledger.fail_unsettled(NOW_MS) for ledger in ledgers[1:]]
    assert SERVERS - 1 == unsettled(ledgers[1])


def test_who_reads_on_misses_no_order(ledgers: list[Ledger]) -> None:
    """However many servers publish at once, each order becomes visible behind all that were read before."""
    read: list[CommandRecord] = []
    done = Event()

    def follow() -> None:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            read.extend(ledgers[0].published(NOW_MS, after=read[-1].sequence if read else 0, limit=7))
        while page := ledgers[0].published(NOW_MS, after=read[-1].sequence, limit=7):
            read.extend(page)

    def publish(number: int) -> list[int]:
        given = []
        for turn in range(25):
            orders = [order(f"d{number}-{place}", NOW_MS - 1_000 * (turn % 3)) for place in range(1 + turn % 4)]
            ledgers[number % SERVERS].accept_many(orders, by=BY)
            outcomes = [(command.command_id, "published") for command in orders]
            records = ledgers[number % SERVERS].settle_many(outcomes, NOW_MS)  # type: ignore[arg-type]
            given += [record.sequence for record in records]
        return given

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        try:
            given = at_once(6, publish)
        finally:
            done.set()
        following.result()
    sequences = [record.sequence for record in read]
    assert sorted(chain.from_iterable(given)) == sequences
    assert all(sorted(one) == one for one in given)


def test_who_reads_on_misses_no_line_of_the_trail(ledgers: list[Ledger]) -> None:
    """Lines become visible in the order of their numbers, whichever server writes them."""
    read: list[tuple[int, AuditEntry]] = []
    done = Event()

    def follow() -> None:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            while page := ledgers[0].audit(NOW_MS, after=read[-1][0] if read else 0, limit=7):
                read.extend(page)

    def write(number: int) -> None:
        for _ in range(40):
            accept(ledgers[number % SERVERS], order(f"d{number}"), by=BY)

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        try:
            at_once(6, write)
        finally:
            done.set()
        following.result()
    assert 6 * 40 == len(read)
    assert list(read) == list(ledgers[0].audit(NOW_MS))


def test_a_server_that_was_cut_off_goes_on(ledgers: list[Ledger], by_hand: ByHand) -> None:
    """Connections that PostgreSQL has ended are not used again, and what is under way stays so."""
    before = accept(ledgers[0], order(), by=BY, idempotency_key="k")
    ours = "FROM pg_stat_activity WHERE application_name = 'heatfleet'"
    by_hand(f"SELECT pg_terminate_backend(pid) {ours}")
    while by_hand(f"SELECT pid {ours}"):
        time.sleep(0.01)

    assert before == accept(ledgers[0], order(), by=BY, idempotency_key="k")
    assert 0 == ledgers[1].fail_unsettled(NOW_MS)
    assert "published" == settle(ledgers[0], before.command.command_id, "published", NOW_MS).state
