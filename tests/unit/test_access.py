"""Who is let in, by which key, and how much of it; keys are those of a real key ring."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.access import WRONG_KEYS_PER_MIN, Access, Budget, Caller
from heatfleet.domain.access import Bounds, Scope, new_key
from heatfleet.errors import NotAllowed, TooMany
from heatfleet.storage import open_key_ring
from heatfleet.storage.base import KeyRing
from tests.keys import BY_TEST, api_key

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[KeyRing]:
    """An empty key ring."""
    with closing(open_key_ring(f"sqlite:///{tmp_path}/heatfleet.db")) as opened:
        yield opened


def access_to(ring: KeyRing, *, may_be_open: bool = True, clock: Callable[[], int] | None = None) -> Access:
    """What the server makes of a key ring."""
    return Access(
        ring,
        may_be_open=may_be_open,
        messages_per_s=1000,
        commands_per_min=60,
        clock=clock or (lambda: time.time_ns() // 1_000_000),
    )


def with_key(ring: KeyRing, *scopes: Scope, expires_at_ms: int | None = None) -> str:
    """The credentials of a new key on the ring."""
    text, key = api_key(*scopes, expires_at_ms=expires_at_ms)
    ring.add(key, by=BY_TEST)
    return f"Bearer {text}"


async def test_without_any_key_this_machine_may_do_everything(ring: KeyRing) -> None:
    """The first run needs no key."""
    async with access_to(ring) as access:
        assert access.is_open
        assert access.admit(None, HERE).key.may("admin")


async def test_where_others_can_come_nobody_is_let_in_without_a_key(ring: KeyRing) -> None:
    """Should a server run there without keys, it serves nobody."""
    async with access_to(ring, may_be_open=False) as access:
        with pytest.raises(NotAllowed, match="is needed") as refused:
            access.admit(None, HERE)

    assert refused.value.kind == "needs-key"


async def test_the_first_key_ends_the_time_without(ring: KeyRing) -> None:
    """Also when it is revoked again: the last key that goes must not open the house."""
    async with access_to(ring) as access:
        text, key = api_key("report")
        ring.add(key, by=BY_TEST)
        await access.refresh()
        assert not access.is_open
        assert access.admit(f"Bearer {text}", HERE).key.key_id == key.key_id

        ring.revoke(key.key_id, 1, by=BY_TEST)
        await access.refresh()

        assert not access.is_open
        with pytest.raises(NotAllowed, match="revoked"):
            access.admit(f"Bearer {text}", HERE)


async def test_changes_are_followed_without_being_asked(ring: KeyRing) -> None:
    """A key made or revoked elsewhere counts within 5 s, and whoever remembers verdicts is told."""
    async with access_to(ring) as access:
        told = asyncio.Event()
        access.changed.append(told.set)
        text = with_key(ring, "report")
        await asyncio.wait_for(told.wait(), 5)
        told.clear()

        assert access.knows(text) is not None

        ring.revoke(text.split("_")[1], 1, by=BY_TEST)
        await asyncio.wait_for(told.wait(), 5)

        assert access.knows(text) is None


async def test_a_key_expires_by_itself(ring: KeyRing) -> None:
    """Whoever remembers verdicts is told at the end of a key, too."""
    now_ms = 1_000_000
    text = with_key(ring, "report", expires_at_ms=1_000_500)
    async with access_to(ring, clock=lambda: now_ms) as access:
        assert access.knows(text) is not None
        told = asyncio.Event()
        access.changed.append(told.set)
        now_ms = 1_000_500

        assert access.knows(text) is None
        with pytest.raises(NotAllowed, match="expired"):
            access.admit(text, HERE)
        await asyncio.wait_for(told.wait(), 5)


async def test_a_good_key_under_another_scheme_is_told_the_scheme(ring: KeyRing) -> None:
    """It is the header that is wrong, not the key."""
    text = with_key(ring, "report")
    async with access_to(ring) as access:
        with pytest.raises(NotAllowed, match="Authorization: Bearer"):
            access.admit(text.replace("Bearer", "Basic"), HERE)


async def test_what_goes_wrong_with_keys_once_does_not_end_following_them(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: those known before go on, it is told after a while, and later changes are heeded."""
    text = with_key(ring, "report")
    monkeypatch.setattr("heatfleet.access.UNREAD_S", 0.5)
    async with access_to(ring) as access:
        with monkeypatch.context() as broken:
            broken.setattr(ring, "version", lambda: int("damaged"))
            await asyncio.sleep(2.5)
            assert access.trouble is not None
            assert access.knows(text) is not None
        told = asyncio.Event()
        access.changed.append(told.set)
        ring.revoke(text.split("_")[1], 1, by=BY_TEST)
        await asyncio.wait_for(told.wait(), 5)

        assert access.knows(text) is None
        assert access.trouble is None


async def test_keys_may_be_required_from_the_start(ring: KeyRing) -> None:
    """An operator who says so has no time without keys, whatever becomes of the ledger."""
    async with access_to(ring, may_be_open=False) as access:
        assert not access.is_open


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic aGVhdDo=",
        f"Bearer {new_key()[0]}",
        f"Bearer {new_key()[0][:-1]}",
        new_key()[0],
        "Bearer heat_é",
        "Bearer " + "x" * 10_000,
    ],
    ids=range(9),
)
async def test_what_is_no_key_of_ours_is_refused(ring: KeyRing, credentials: str) -> None:
    """Whatever it is, and in words that do not repeat it."""
    with_key(ring, "admin")
    async with access_to(ring) as access:
        with pytest.raises(NotAllowed) as refused:
            access.admit(credentials, HERE)

    assert refused.value.kind == "bad-key"
    assert not credentials.split()[1:] or credentials.split()[1] not in refused.value.detail


async def test_the_scheme_is_read_in_any_case(ring: KeyRing) -> None:
    """As RFC 9110 has it."""
    text = with_key(ring, "report")
    async with access_to(ring) as access:
        assert access.knows(text.replace("Bearer", "bearer")) is not None


async def test_who_tries_wrong_keys_is_told_to_wait(ring: KeyRing) -> None:
    """Counted for an address, or with IPv6 for its network; a right key from there is let in all the same."""
    text = with_key(ring, "report")
    async with access_to(ring) as access:
        for number in range(WRONG_KEYS_PER_MIN):
            with pytest.raises(NotAllowed):
                access.admit("Bearer x", f"2001:db8::{number:x}")
        for _ in range(3):
            with pytest.raises(TooMany) as refused:
                access.admit("Bearer x", "2001:db8::ffff")

        assert 0 < refused.value.retry_after_s <= 60
        assert access.admit(text, "2001:db8::1").key.may("report")
        with pytest.raises(NotAllowed):
            access.admit("Bearer x", "2001:db8:0:1::1")


async def test_limits_outlive_changes_of_other_keys(ring: KeyRing) -> None:
    """What a key has used up is not given back because another key was made."""
    text = with_key(ring, "ingest")
    async with access_to(ring) as access:
        access.admit(text, HERE).count_messages(100_000, 0)
        with_key(ring, "report")
        await access.refresh()

        with pytest.raises(TooMany):
            access.admit(text, HERE).check_messages()


async def test_keys_that_were_used_are_noted(ring: KeyRing) -> None:
    """So that people see which ones can go."""
    used, unused = with_key(ring, "report"), with_key(ring, "report")
    async with access_to(ring) as access:
        access.admit(used, HERE)

    made = ring.keys()
    noted = {key.key_id: key.used_at_ms is not None for key in made}
    assert noted == {used.split("_")[1]: True, unused.split("_")[1]: False}


def caller(messages_per_s: int | None = None, commands_per_min: int | None = None) -> Caller:
    """One with a key of its own limits."""
    key = api_key("ingest", messages_per_s=messages_per_s, commands_per_min=commands_per_min)[1]
    return Caller(key, messages_per_s=1000, commands_per_min=60)


def test_a_scope_that_the_key_lacks_is_named() -> None:
    """The answer says what to ask for."""
    with pytest.raises(NotAllowed, match="command") as refused:
        caller().expect("command")

    assert refused.value.kind == "missing-scope"


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        (("ingest",), {"ingest"}),
        (("command",), {"command"}),
        (("command:bulk",), {"command", "command:bulk"}),
        (("report", "metrics"), {"report", "metrics"}),
        (("admin",), {"ingest", "command", "command:bulk", "report", "metrics", "admin"}),
    ],
)
def test_what_scopes_open(scopes: tuple[Scope, ...], may: set[Scope]) -> None:
    """Nothing but what they say; ``admin`` is everything, and who may order many may order one."""
    all_of_them: tuple[Scope, ...] = ("ingest", "command", "command:bulk", "report", "metrics", "admin")

    assert {scope for scope in all_of_them if api_key(*scopes)[1].may(scope)} == may


def test_bounds_of_device_and_product() -> None:
    """Both must fit; a device of which no product is known is not of a product."""
    bounds = Bounds("fr-", "p")

    assert bounds.covers("fr-1", "p7")
    assert not bounds.covers("de-1", "p7")
    assert not bounds.covers("fr-1", "q")
    assert not bounds.covers("fr-1", None)


def test_a_budget_is_so_much_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used up, says how long to wait, earns again, and never saves much."""
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    budget = Budget(10, at_once=20)
    assert budget.wait_s() == 0
    budget.take(50)

    assert budget.wait_s() == pytest.approx(3.1, abs=0.01)
    now_s += 3
    assert budget.wait_s() > 0
    now_s += 0.2
    assert budget.wait_s() == 0

    now_s += 1000
    taken = 0
    while budget.wait_s() == 0:
        budget.take(1)
        taken += 1
    assert 19 <= taken <= 2 * 20, "what it earned while nobody asked has an end"


def test_no_limit_is_none() -> None:
    """Zero stands for any number."""
    one = caller(messages_per_s=0)
    one.count_messages(10**9, 0)

    one.check_messages()


def test_orders_are_counted_by_the_minute() -> None:
    """Beyond them nothing is sent."""
    one = caller(commands_per_min=3)
    one.take_orders(3)

    with pytest.raises(TooMany, match="orders"):
        one.take_orders(1)
