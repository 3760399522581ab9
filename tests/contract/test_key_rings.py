"""Every key ring keeps the promises of ``storage.base.KeyRing``."""

from contextlib import closing
from dataclasses import replace

import pytest

from heatfleet.domain.access import SCOPES, ApiKey, Bounds, digest_of, new_key
from heatfleet.errors import HeatfleetError, NotFound, StoreUnavailable
from heatfleet.storage import open_key_ring
from heatfleet.storage.base import KeyRing
from tests.contract.conftest import DAY_MS, NOW_MS, SOMEBODY, ByHand, added, all_keys, made, trail
from tests.contract.ledgers import Backend


def test_a_new_ring_has_no_keys(ring: KeyRing) -> None:
    """Nobody has a key before one was made."""
    assert [] == all_keys(ring)


def test_a_key_is_kept_as_it_was_given(url: str) -> None:
    """Everything that is known of a key is there after the ring was opened anew, in the order the keys were made."""
    keys = [
        made(),
        made("everything", scopes=frozenset(SCOPES)),
        made("bound", bounds=Bounds("fr-", "heater."), messages_per_s=5, commands_per_min=0),
        made("Grüße, \"x\" [b] 'y'; --", NOW_MS - 1, expires_at_ms=NOW_MS + 1, revoked_at_ms=NOW_MS, used_at_ms=3),
    ]
    with closing(open_key_ring(url)) as ring:
        for key in keys:
            ring.add(key, by=SOMEBODY)
    with closing(open_key_ring(url)) as ring:
        assert keys == all_keys(ring)


def test_who_only_looks_changes_nothing(ring: KeyRing, url: str) -> None:
    """A ring that was opened to be read tells the keys, and refuses to take any."""
    key = added(ring)
    with closing(open_key_ring(url, writable=False)) as looking:
        with pytest.raises(HeatfleetError):
            looking.add(made(), by=SOMEBODY)
        assert [key] == all_keys(looking) == all_keys(ring)


@pytest.mark.parametrize("same", ["key_id", "digest"])
def test_a_key_is_made_once(ring: KeyRing, by_hand: ByHand, same: str) -> None:
    """One with the id or digest of another, be it a revoked one, is refused, and nothing is written."""
    key = added(ring)
    ring.revoke(key.key_id, NOW_MS + 1, by=SOMEBODY)
    before = all_keys(ring), ring.version(), trail(by_hand)
    twin = replace(made(), **{same: getattr(key, same)})

    with pytest.raises(StoreUnavailable, match="already"):
        ring.add(twin, by=SOMEBODY)
    assert before == (all_keys(ring), ring.version(), trail(by_hand))


def test_a_revoked_key_is_over(ring: KeyRing) -> None:
    """Revoking gives the key with the time of its end, and that is what is kept; other keys go on."""
    key, other = added(ring), added(ring)
    revoked = ring.revoke(key.key_id, NOW_MS + 5, by=SOMEBODY)

    assert replace(key, revoked_at_ms=NOW_MS + 5) == revoked
    assert [revoked, other] == all_keys(ring)
    assert "revoked" == revoked.state(NOW_MS)


def test_a_key_is_revoked_once(ring: KeyRing, by_hand: ByHand) -> None:
    """Revoking again is no error and no change: the first time stands, and the trail has one line of it."""
    key = added(ring)
    revoked = ring.revoke(key.key_id, NOW_MS + 5, by=SOMEBODY)
    before = ring.version(), trail(by_hand)

    assert revoked == ring.revoke(key.key_id, NOW_MS + 9, by=SOMEBODY)
    assert before == (ring.version(), trail(by_hand))


def test_a_replaced_key_goes_on_for_a_while(ring: KeyRing) -> None:
    """For the overlap both open the same doors; the old one knows which key took its place."""
    old, new = added(ring), made(at_ms=NOW_MS + 1)
    replaced = ring.replace(old.key_id, new, expires_at_ms=NOW_MS + DAY_MS, by=SOMEBODY)

    assert replace(old, replaced_by=new.key_id, expires_at_ms=NOW_MS + DAY_MS) == replaced
    assert [replaced, new] == all_keys(ring)
    assert ["active", "expired"] == [replaced.state(NOW_MS + offset_ms) for offset_ms in (DAY_MS - 1, DAY_MS)]
    assert "active" == new.state(NOW_MS + DAY_MS)


def test_an_overlap_does_not_prolong_a_key(ring: KeyRing) -> None:
    """A key that would have ended before the overlap does end then."""
    old = added(ring, expires_at_ms=NOW_MS + 50)

    assert NOW_MS + 50 == ring.replace(old.key_id, made(), expires_at_ms=NOW_MS + 60, by=SOMEBODY).expires_at_ms


@pytest.mark.parametrize("end", [{"revoked_at_ms": NOW_MS - 9}, {"expires_at_ms": NOW_MS}, {"replaced_by": "other"}])
def test_a_key_that_is_over_is_not_replaced(ring: KeyRing, by_hand: ByHand, end: dict[str, object]) -> None:
    """What has ended is not brought back by a rotation, what was replaced is so once; nothing is written."""
    old = added(ring, **end)
    before = all_keys(ring), ring.version(), trail(by_hand)

    with pytest.raises(NotFound):
        ring.replace(old.key_id, made(), expires_at_ms=NOW_MS + DAY_MS, by=SOMEBODY)
    assert before == (all_keys(ring), ring.version(), trail(by_hand))


def test_a_rotation_is_whole_or_not_at_all(ring: KeyRing, by_hand: ByHand) -> None:
    """Where the new key cannot be kept, the old one goes on as before."""
    old, other = added(ring), added(ring)
    before = all_keys(ring), ring.version(), trail(by_hand)

    with pytest.raises(StoreUnavailable):
        ring.replace(old.key_id, replace(made(), digest=other.digest), expires_at_ms=NOW_MS, by=SOMEBODY)
    assert before == (all_keys(ring), ring.version(), trail(by_hand))


def test_an_unknown_id(ring: KeyRing, by_hand: ByHand) -> None:
    """An id never given cannot be revoked or replaced; that it was used is passed over."""
    added(ring)
    before = all_keys(ring), ring.version(), trail(by_hand)

    with pytest.raises(NotFound):
        ring.revoke("nobody", NOW_MS, by=SOMEBODY)
    with pytest.raises(NotFound):
        ring.replace("nobody", made(), expires_at_ms=NOW_MS, by=SOMEBODY)
    ring.note_used({"nobody": NOW_MS})
    assert before == (all_keys(ring), ring.version(), trail(by_hand))


def test_use_is_noted_aside(ring: KeyRing, by_hand: ByHand) -> None:
    """The newest use of each key is kept, a time never goes back, and neither version nor trail tell of it."""
    first, second, third = added(ring), added(ring), added(ring)
    before = ring.version(), trail(by_hand)
    ring.note_used({first.key_id: NOW_MS + 5, second.key_id: NOW_MS + 6})
    ring.note_used({first.key_id: NOW_MS + 4, second.key_id: NOW_MS + 7})
    ring.note_used({})

    assert [replace(first, used_at_ms=NOW_MS + 5), replace(second, used_at_ms=NOW_MS + 7), third] == all_keys(ring)
    assert before == (ring.version(), trail(by_hand))


def test_a_locked_ring_says_so(ring: KeyRing, url: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another holds the write lock keys can be read; a change is refused after a while, and not written."""
    key = added(ring)
    monkeypatch.setattr(*backend.patience)
    with backend.held(url), closing(open_key_ring(url)) as impatient:
        assert [key] == all_keys(impatient)
        assert ring.version() == impatient.version()
        for change in (
            lambda: impatient.add(made(), by=SOMEBODY),
            lambda: impatient.revoke(key.key_id, NOW_MS, by=SOMEBODY),
            lambda: impatient.note_used({key.key_id: NOW_MS}),
        ):
            with pytest.raises(StoreUnavailable):
                change()
    assert [key] == all_keys(ring)


def test_the_key_itself_is_nowhere(url: str, backend: Backend) -> None:
    """Neither the key nor its secret part is in any file of the store: only its id and digest are."""
    text, key_id = new_key()
    with closing(open_key_ring(url)) as ring:
        ring.add(ApiKey(key_id, digest_of(text), "n", frozenset({"ingest"}), NOW_MS), by=SOMEBODY)
        written = backend.all_written(url)

    assert digest_of(text) in written
    assert key_id.encode() in written
    assert text.rpartition("_")[2][:12].encode() not in written
