"""Every key ring tells of its changes: to servers that read it meanwhile, and for ever in the audit trail."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from heatfleet.domain.access import CLI, Actor, Bounds
from heatfleet.errors import StoreUnavailable
from heatfleet.storage import open_key_ring, open_ledger
from heatfleet.storage.base import KeyRing
from tests.contract.conftest import DAY_MS, NOW_MS, SOMEBODY, ByHand, added, all_keys, details, made, trail
from tests.contract.ledgers import Backend, RefusedByHand


def test_each_change_is_another_version(ring: KeyRing, url: str) -> None:
    """Adding, replacing and revoking are seen at once by all who have the ring open, here and elsewhere."""
    with closing(open_key_ring(url)) as other:
        versions = [(ring.version(), other.version())]
        key, new = made(), made()
        for change in (
            lambda: ring.add(key, by=SOMEBODY),
            lambda: ring.replace(key.key_id, new, expires_at_ms=NOW_MS + DAY_MS, by=SOMEBODY),
            lambda: ring.revoke(new.key_id, NOW_MS, by=SOMEBODY),
        ):
            change()
            versions.append((ring.version(), other.version()))
            assert all_keys(ring) == all_keys(other)

    assert all(here == there for here, there in versions)
    assert sorted(set(versions)) == versions


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE api_key SET revoked_at_ms = 1",
        "UPDATE api_key SET scopes = 'report'",
        "UPDATE api_key SET expires_at_ms = NULL, used_at_ms = 1",
        "UPDATE api_key SET device_prefix = 'x'",
        "UPDATE api_key SET product_prefix = 'x'",
        "UPDATE api_key SET messages_per_s = 1",
        "UPDATE api_key SET commands_per_min = 1",
        "UPDATE api_key SET digest = {digest}",
        "DELETE FROM api_key",
    ],
)
def test_a_change_by_hand_is_another_version(ring: KeyRing, by_hand: ByHand, backend: Backend, statement: str) -> None:
    """Whoever revokes a key at a SQL prompt, since nothing else is at hand, is heard too."""
    added(ring)
    before = ring.version()
    by_hand(statement.format(digest=backend.digest))

    assert ring.version() > before


def test_orders_are_no_change_of_keys(ring: KeyRing, url: str) -> None:
    """What a server writes all day beside the keys does not make it read them anew."""
    added(ring)
    before = ring.version()
    with closing(open_ledger(url)) as ledger:
        ledger.fail_unsettled(NOW_MS)

    assert before == ring.version()


def test_changes_of_another_process_are_seen(ring: KeyRing, url: str) -> None:
    """What the command line does beside a running server is there in the server when the command has ended."""
    added(ring)
    before = ring.version()
    script = (
        "import sys; from contextlib import closing; from tests.contract.conftest import *\n"
        "with closing(open_key_ring(sys.argv[1])) as ring: print(added(ring, name='theirs').key_id)"
    )
    child = subprocess.run([sys.executable, "-c", script, url], check=True, capture_output=True, text=True, timeout=120)

    assert ring.version() > before
    assert [child.stdout.strip()] == [key.key_id for key in all_keys(ring) if key.name == "theirs"]


def test_processes_that_change_at_once_lose_nothing(url: str, by_hand: ByHand) -> None:
    """Keys made by several processes at the same time are all there, each with its line in the trail."""
    open_key_ring(url).close()
    children: list[int] = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                with closing(open_key_ring(url)) as ring:
                    for _ in range(5):
                        key = added(ring, name=f"of {number}")
                        ring.replace(key.key_id, made(f"of {number}"), expires_at_ms=NOW_MS + 1, by=SOMEBODY)
            except BaseException:  # noqa: BLE001 - the child must not run pytest's own ending
                os._exit(1)
            os._exit(0)
        children.append(child)

    assert [0] * 4 == [os.waitpid(child, 0)[1] for child in children]
    with closing(open_key_ring(url)) as ring:
        names = sorted(key.name for key in all_keys(ring))
    assert [f"of {number}" for number in range(4) for _ in range(10)] == names
    assert 4 * 5 * 3 == len(trail(by_hand))


def test_threads_take_turns(ring: KeyRing) -> None:
    """Any thread may call."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: added(ring), range(40)))

    assert {key.key_id for key in keys} == {key.key_id for key in all_keys(ring)}


def test_each_change_is_in_the_trail(ring: KeyRing, by_hand: ByHand) -> None:
    """Who did what when: a line for a new key, one for each of the two that a rotation is about, one for an end."""
    key = added(ring, scopes=frozenset({"command", "ingest"}), bounds=Bounds("fr-"), commands_per_min=5)
    new = made(at_ms=NOW_MS + 1, expires_at_ms=NOW_MS + DAY_MS)
    ring.replace(key.key_id, new, expires_at_ms=NOW_MS + 2, by=Actor(CLI, "bob"))
    ring.revoke(new.key_id, NOW_MS + 3, by=SOMEBODY)

    assert [
        (NOW_MS, "cli", "alice", "key-create", key.key_id, "done"),
        (NOW_MS + 1, "cli", "bob", "key-create", new.key_id, "done"),
        (NOW_MS + 1, "cli", "bob", "key-rotate", key.key_id, "done"),
        (NOW_MS + 3, "cli", "alice", "key-revoke", new.key_id, "done"),
    ] == trail(by_hand)
    assert [
        '"gateway lyon": ingest command; devices fr-*, 5 commands/min',
        f'"gateway lyon": ingest; until 2026-01-11T18:00:00.000Z; in the place of {key.key_id}',
        f"replaced by {new.key_id}; until 2026-01-10T18:00:00.002Z",
        '"gateway lyon": ingest; until 2026-01-11T18:00:00.000Z',
    ] == details(by_hand)


def test_the_trail_is_only_added_to(ring: KeyRing, by_hand: ByHand, backend: Backend) -> None:
    """No line can be changed, removed or written over, not even at a SQL prompt; new ones still come."""
    key, _ = added(ring), added(ring)
    before = by_hand("SELECT * FROM audit ORDER BY entry")

    for statement in backend.changes_of_the_trail:
        with pytest.raises(RefusedByHand, match="only ever added to"):
            by_hand(statement)
    ring.revoke(key.key_id, NOW_MS, by=SOMEBODY)
    assert before == by_hand("SELECT * FROM audit ORDER BY entry")[:-1]


def test_what_cannot_be_in_the_trail_is_not_done(ring: KeyRing, by_hand: ByHand, backend: Backend) -> None:
    """A change and its line are written together: where the line is refused, the keys stay as they are."""
    key = added(ring)
    by_hand(backend.no_more_lines)
    before = all_keys(ring), ring.version(), trail(by_hand)

    for change in (
        lambda: ring.add(made(), by=SOMEBODY),
        lambda: ring.replace(key.key_id, made(), expires_at_ms=NOW_MS, by=SOMEBODY),
        lambda: ring.revoke(key.key_id, NOW_MS, by=SOMEBODY),
    ):
        with pytest.raises(StoreUnavailable):
            change()
        assert before == (all_keys(ring), ring.version(), trail(by_hand))
