"""Every ledger keeps the promises of ``storage.base.Ledger``."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import KeyReused, NotFound
from heatfleet.storage import open_ledger
from heatfleet.storage.base import Ledger
from tests.contract.ledgers import BY, DAY_MS, NOW_MS, TTL_MS, accept, devices, order, publish, settle, unsettled


def test_an_accepted_order_is_on_disk_before_it_is_published(url: str) -> None:
    """What was accepted is there after the ledger was opened anew, and says that nothing became of it yet."""
    command = order(product_id=None, switch=False)
    with closing(open_ledger(url)) as ledger:
        accepted = accept(ledger, command, by=BY)
    with closing(open_ledger(url)) as ledger:
        assert accepted == ledger.command(command.command_id, NOW_MS)
    assert CommandRecord(command, "accepted", 0, None) == accepted


def test_a_published_order_has_a_time_and_a_place(url: str) -> None:
    """Settling as published notes when, and gives sequences that grow in the order of publication."""
    first, second = order("d1"), order("d2")
    with closing(open_ledger(url)) as ledger:
        accept(ledger, first, by=BY)
        accept(ledger, second, by=BY)
        later = settle(ledger, second.command_id, "published", NOW_MS + 20)
        latest = settle(ledger, first.command_id, "published", NOW_MS + 30)

        assert (later.state, later.settled_at_ms) == ("published", NOW_MS + 20)
        assert 0 < later.sequence < latest.sequence
    with closing(open_ledger(url)) as ledger:
        assert latest == ledger.command(first.command_id, NOW_MS + 40)


def test_a_failed_order_has_no_place(ledger: Ledger) -> None:
    """An order that the bus did not take is failed, is no order of its device, and nobody hears of it."""
    command = order()
    accept(ledger, command, by=BY)

    assert CommandRecord(command, "failed", 0, NOW_MS + 1) == settle(ledger, command.command_id, "failed", NOW_MS + 1)
    assert ledger.last_order("d1", NOW_MS) is None
    assert [] == list(ledger.open_orders(devices("d1"), NOW_MS))


@pytest.mark.parametrize("then", ["published", "failed"])
def test_an_order_is_settled_once(ledger: Ledger, then: str) -> None:
    """Settling again changes nothing."""
    published = publish(ledger, order())

    assert published == settle(ledger, published.command.command_id, then, NOW_MS + 9)  # type: ignore[arg-type]


def test_an_unknown_id(ledger: Ledger) -> None:
    """An id never given is no order, and cannot be settled."""
    assert ledger.command("nobody", NOW_MS) is None
    with pytest.raises(NotFound):
        settle(ledger, "nobody", "published", NOW_MS)


def test_an_order_expires(ledger: Ledger) -> None:
    """A published order is expired from the very instant its time is over."""
    command = publish(ledger, order()).command
    states = [ledger.command(command.command_id, command.expires_at_ms + offset_ms) for offset_ms in (-1, 0, DAY_MS)]

    assert ["published", "expired", "expired"] == [record and record.state for record in states]


@pytest.mark.parametrize(("offset_ms", "state"), [(1, "superseded"), (TTL_MS - 1, "superseded"), (TTL_MS, "expired")])
def test_a_newer_order_supersedes(ledger: Ledger, offset_ms: int, state: str) -> None:
    """An order is superseded by a newer one for its device that is published before it ran out, and for ever."""
    old = publish(ledger, order()).command
    new = publish(ledger, order(at_ms=NOW_MS + offset_ms, switch=False))
    publish(ledger, order(at_ms=NOW_MS + DAY_MS))
    now_ms = NOW_MS + 2 * DAY_MS
    record = ledger.command(old.command_id, now_ms)

    assert state == (record and record.state)
    assert "published" == new.state


def test_other_orders_do_not_supersede(ledger: Ledger) -> None:
    """An order outlives failed orders for its device and published ones for others."""
    old = publish(ledger, order())
    failed = order(at_ms=NOW_MS + 1)
    accept(ledger, failed, by=BY)
    settle(ledger, failed.command_id, "failed", NOW_MS + 2)
    publish(ledger, order("d2", NOW_MS + 3))

    assert old == ledger.command(old.command.command_id, NOW_MS + 4)
    assert old == ledger.last_order("d1", NOW_MS + 4)


def test_the_last_order_of_a_device(ledger: Ledger) -> None:
    """The newest published order is the last one, also long after it expired."""
    publish(ledger, order())
    newest = publish(ledger, order(at_ms=NOW_MS + 1, switch=False))

    assert ledger.last_order("d2", NOW_MS) is None
    assert newest == ledger.last_order("d1", NOW_MS + 2)
    assert replace(newest, state="expired") == ledger.last_order("d1", NOW_MS + DAY_MS)


def test_orders_without_an_end_are_failed(url: str) -> None:
    """What a ledger that is not open any more left as accepted is settled as failed, everything else is left alone."""
    with closing(open_ledger(url)) as ledger:
        published = publish(ledger, order("d1"))
        left = [accept(ledger, order(device_id), by=BY).command for device_id in ("d2", "d3")]
    with closing(open_ledger(url)) as ledger:
        under_way = accept(ledger, order("d4"), by=BY)

        assert 2 == ledger.fail_unsettled(NOW_MS + 50)
        assert 0 == ledger.fail_unsettled(NOW_MS + 60)
        assert [published, under_way] == [
            ledger.command(record.command.command_id, NOW_MS) for record in (published, under_way)
        ]
        assert [CommandRecord(command, "failed", 0, NOW_MS + 50) for command in left] == [
            ledger.command(command.command_id, NOW_MS) for command in left
        ]


def test_orders_are_read_in_the_order_of_their_publication(ledger: Ledger) -> None:
    """All of them, whatever became of them since, from the one that comes after; and the last is known."""
    assert (0, []) == (ledger.last_sequence(), list(ledger.published(NOW_MS, after=0)))
    sent = [publish(ledger, order(f"d{number % 2}", switch=bool(number % 2))) for number in range(5)]
    settle(ledger, accept(ledger, order("d3"), by=BY).command.command_id, "failed", NOW_MS)
    accept(ledger, order("d4"), by=BY)
    after = sent[0].sequence

    assert sent[-1].sequence == ledger.last_sequence()
    assert [it.command for it in sent[1:]] == [it.command for it in ledger.published(NOW_MS, after=after)]
    assert [it.command for it in sent[1:3]] == [it.command for it in ledger.published(NOW_MS, after=after, limit=2)]
    assert ["expired"] == [it.state for it in ledger.published(NOW_MS + DAY_MS, after=sent[3].sequence)]
    assert [] == list(ledger.published(NOW_MS, after=sent[-1].sequence))


def test_a_key_stands_for_its_order(ledger: Ledger) -> None:
    """An equal order with the same key leads to the earlier record, whatever its state, and writes nothing."""
    first = accept(ledger, order(), by=BY, idempotency_key="k")

    assert first == accept(ledger, order(at_ms=NOW_MS + 5, product_id="q"), by=BY, idempotency_key="k")
    published = settle(ledger, first.command.command_id, "published", NOW_MS + 6)
    assert published == accept(ledger, order(at_ms=NOW_MS + 7), by=BY, idempotency_key="k")
    expired = accept(ledger, order(at_ms=NOW_MS + DAY_MS - 1), by=BY, idempotency_key="k")
    assert replace(published, state="expired") == expired
    assert 0 == unsettled(ledger)


@pytest.mark.parametrize("other", [order("d2"), order("d1", switch=False)])
@pytest.mark.parametrize("state", ["published", "failed"])
def test_a_key_does_not_stand_for_another_order(ledger: Ledger, other: Command, state: str) -> None:
    """Another device or the other position with a used key is refused, and not written."""
    first = order()
    accept(ledger, first, by=BY, idempotency_key="k")
    settle(ledger, first.command_id, state, NOW_MS)  # type: ignore[arg-type]

    with pytest.raises(KeyReused):
        accept(ledger, other, by=BY, idempotency_key="k")
    assert ledger.command(other.command_id, NOW_MS) is None


def test_the_key_of_a_failed_order_may_be_used_again(ledger: Ledger) -> None:
    """Nothing was sent, so the same order may be tried with the same key, which then stands for the new one."""
    first, second, third = order(), order(at_ms=NOW_MS + 1), order(at_ms=NOW_MS + 2)
    accept(ledger, first, by=BY, idempotency_key="k")
    settle(ledger, first.command_id, "failed", NOW_MS)

    assert second == accept(ledger, second, by=BY, idempotency_key="k").command
    assert second == accept(ledger, third, by=BY, idempotency_key="k").command


@pytest.mark.parametrize(("age_ms", "remembered"), [(DAY_MS - 1, True), (DAY_MS, False)])
def test_a_key_is_forgotten_after_a_day(ledger: Ledger, age_ms: int, remembered: bool) -> None:
    """For 24 h from its first use a key stands for its order; after that it is as good as new."""
    first = publish(ledger, order())
    keyed = accept(ledger, order(at_ms=NOW_MS), by=BY, idempotency_key="k")
    again = accept(ledger, order(at_ms=NOW_MS + age_ms), by=BY, idempotency_key="k")

    assert remembered == (again.command == keyed.command)
    assert first.command not in (keyed.command, again.command)


def test_a_race_for_a_key_has_one_winner(ledger: Ledger) -> None:
    """Equal orders with one key at the same time are written once."""
    start = Barrier(8)

    def give(_: int) -> str:
        start.wait()
        return accept(ledger, order(), by=BY, idempotency_key="k").command.command_id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(give, range(8)))

    assert 1 == len(ids)
    assert 1 == unsettled(ledger)


def test_a_clock_that_goes_back_does_not_turn_the_order(ledger: Ledger) -> None:
    """Sequences grow with publication, whatever the clock says."""
    first = publish(ledger, order("d1"))
    second = publish(ledger, order("d1", NOW_MS - 60_000))

    assert first.sequence < second.sequence
    assert second == ledger.last_order("d1", NOW_MS)


def test_sequences_grow_from_one_ledger_to_the_next(address: Callable[[Path], str], tmp_path: Path) -> None:
    """Who knows the last sequence of a ledger that is gone still hears of what a new one publishes."""
    with closing(open_ledger(address(tmp_path / "old"))) as ledger:
        last = [publish(ledger, order(f"d{number}")).sequence for number in range(5)][-1]
    with closing(open_ledger(address(tmp_path / "new"))) as ledger:
        new = publish(ledger, order("d9", NOW_MS + 1_000))
        assert [new] == list(ledger.open_orders(devices("d9"), NOW_MS + 1_000, after=last))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        st.tuples(
            st.sampled_from(["d1", "d2", "d3"]),
            st.sampled_from(["p", "p", "q", None]),
            st.sampled_from(["published", "published", "failed", "accepted"]),
            st.integers(0, TTL_MS // 6),
        ),
        min_size=3,
        max_size=12,
    ),
    age_ms=st.integers(0, TTL_MS),
    seen=st.integers(0, 12),
)
def test_open_orders_are_what_they_are_defined_to_be(
    address: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[str, str | None, str, int]],
    age_ms: int,
    seen: int,
) -> None:
    """Of each device asked for the newest published order, where it is unexpired and newer than what was seen."""
    published: list[CommandRecord] = []
    now_ms = NOW_MS
    with closing(open_ledger(address(tmp_path_factory.mktemp("ledger")))) as ledger:
        for device_id, product_id, state, pause_ms in history:
            now_ms += pause_ms
            command = accept(ledger, order(device_id, now_ms, product_id=product_id), by=BY).command
            if state != "accepted":
                record = settle(ledger, command.command_id, state, now_ms)  # type: ignore[arg-type]
                published += [record] if state == "published" else []
        now_ms += age_ms
        after = ([0] + [record.sequence for record in published])[min(seen, len(published))]
        newest = {record.command.device_id: record for record in published}.values()
        for audience in (devices("d1"), devices("d1", "d3", "nobody"), Audience(product_id="p"), devices()):
            expected = [
                record
                for record in sorted(newest, key=lambda record: record.sequence)
                if audience.includes(record.command)
                and record.command.expires_at_ms > now_ms
                and record.sequence > after
            ]
            assert expected == list(ledger.open_orders(audience, now_ms, after=after))
