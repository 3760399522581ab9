"""Keys as such: their form, what they open, for which devices and until when."""

import math
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.access import ANYTHING, SCOPES, ApiKey, Bounds, Scope, digest_of, id_in, is_well_formed, new_key

NOW_MS = 1_768_068_000_000
KEY = ApiKey("k", b"", "n", frozenset({"ingest"}), NOW_MS)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

ids = st.text("abc-", min_size=1, max_size=4)
beginnings = st.text("abc-", max_size=3)


def test_a_key_looks_like_one() -> None:
    """What scanners for secrets look for, the id that may be shown, 32 characters nobody can guess, and a check."""
    key, key_id = new_key()

    assert re.fullmatch(rf"heat_{key_id}_[0-9A-Za-z]{{38}}", key)
    assert re.fullmatch(r"[0-9A-Za-z]{8}", key_id)
    assert is_well_formed(key)


def test_a_known_key_keeps_its_form() -> None:
    """Keys that are out there stay good: the checksum is CRC-32 in base 62 of all before it."""
    assert is_well_formed("heat_00000000_abcdefghijklmnopqrstuvwxyz0123450Dj3RT")


def test_a_secret_has_190_bits_of_chance() -> None:
    """Each of 32 places may be any of 62 characters, so that a fast hash is enough."""
    secrets_made = [new_key()[0].rpartition("_")[2][:32] for _ in range(2000)]

    assert 190 < 32 * math.log2(len(ALPHABET))
    assert all(set(ALPHABET) == set(place) for place in zip(*secrets_made, strict=True))
    assert 2000 == len(set(secrets_made))


def test_chance_is_not_the_one_that_can_be_repeated() -> None:
    """Keys come from the system's randomness: who knows the seed of the program's own knows nothing."""
    made = []
    for _ in range(2):
        random.seed(7)
        _, key_id, rest = new_key()[0].split("_")
        made.append((key_id, rest[:32]))

    assert not any(first == second for first, second in zip(*made, strict=True))


@given(st.data())
def test_a_mistyped_character_is_noticed(data: st.DataObject) -> None:
    """Whichever single character is another one, the key is refused without being looked up."""
    key, _ = new_key()
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.one_of(st.sampled_from(ALPHABET), st.characters()).filter(lambda one: one != key[place]))

    assert not is_well_formed(key[:place] + other + key[place + 1 :]), key


@given(st.data())
def test_characters_in_the_wrong_order_are_noticed(data: st.DataObject) -> None:
    """Two neighbours that changed places are noticed too."""
    key, _ = new_key()
    place = data.draw(st.integers(0, len(key) - 2).filter(lambda place: key[place] != key[place + 1]))

    assert not is_well_formed(key[:place] + key[place + 1] + key[place] + key[place + 2 :]), key


def test_what_is_cut_or_longer_is_no_key() -> None:
    """Part of a key, one with something around it, and nothing at all are refused."""
    key, key_id = new_key()
    wrong = [key[:length] for length in range(len(key))]
    wrong += [f"{key} ", f" {key}", f"{key}\n", f"{key}0", key * 2, key.upper(), key_id, f"heat_{key_id}", "é" * 52]

    assert [] == [one for one in wrong if is_well_formed(one)]


def test_an_id_is_found_in_what_people_paste() -> None:
    """Alone, with what stands before it, in a key or part of one; anything else has none."""
    key, key_id = new_key()
    pasted = [key_id, f"heat_{key_id}", f"heat_{key_id}_", key, key[:20], f"{key_id}_x"]
    wrong = [
        "",
        "heat_",
        key_id[:7],
        f"{key_id}x",
        f"{key_id} ",
        f"{key_id}-x",
        f"heat-{key_id}",
        f"{key} {key}",
        "é" * 8,
    ]

    assert {key_id} == set(map(id_in, pasted))
    assert {None} == set(map(id_in, wrong))


@given(st.text())
def test_no_text_is_too_odd_to_be_judged(text: str) -> None:
    """Whatever is sent as a key gets a plain no."""
    assert not is_well_formed(text)


def test_a_digest_tells_nothing_and_is_one_for_each() -> None:
    """It is SHA-256 of the whole key, so that equal secrets under other ids are other keys."""
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == digest_of("abc").hex()
    assert digest_of("heat_a_x") != digest_of("heat_b_x")


@pytest.mark.parametrize("made_for", SCOPES)
@pytest.mark.parametrize("asked", SCOPES)
def test_a_key_opens_what_it_was_made_for(made_for: Scope, asked: Scope) -> None:
    """Each scope opens itself alone; admin opens everything, and who may order many may order one."""
    opens = made_for in (asked, "admin") or (made_for, asked) == ("command:bulk", "command")

    assert opens == replace(KEY, scopes=frozenset({made_for})).may(asked)


def test_a_key_without_scopes_opens_nothing() -> None:
    """Also none that a later version may know."""
    assert not any(replace(KEY, scopes=frozenset()).may(scope) for scope in SCOPES)


@pytest.mark.parametrize(
    ("ends", "states"),
    [
        ({}, ["active", "active", "active"]),
        ({"expires_at_ms": NOW_MS}, ["active", "expired", "expired"]),
        ({"revoked_at_ms": NOW_MS}, ["revoked", "revoked", "revoked"]),
        ({"expires_at_ms": NOW_MS, "revoked_at_ms": NOW_MS - 5}, ["revoked", "revoked", "revoked"]),
        ({"expires_at_ms": 0}, ["expired", "expired", "expired"]),
    ],
)
def test_a_key_ends(ends: dict[str, int], states: list[str]) -> None:
    """It opens nothing from the very instant it expires; a revoked one opens nothing, whatever the clock says."""
    key = replace(KEY, **ends)  # type: ignore[arg-type]

    assert states == [key.state(NOW_MS + offset_ms) for offset_ms in (-1, 0, 1)]


@given(ids, st.none() | ids)
def test_a_key_without_bounds_is_for_every_device(device_id: str, product_id: str | None) -> None:
    """Whatever its product, and also if none is known."""
    assert ANYTHING.covers(device_id, product_id)


@given(beginnings, beginnings, ids, st.none() | ids)
def test_a_bound_key_is_for_its_devices(device: str, product: str, device_id: str, product_id: str | None) -> None:
    """Both ids must begin as the key says; a device of which no product is known is none of a product's."""
    is_its_product = not product or (product_id is not None and product_id[: len(product)] == product)

    assert Bounds(device, product).covers(device_id, product_id) == (
        device_id[: len(device)] == device and is_its_product
    )


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (KEY, ""),
        (replace(KEY, bounds=Bounds("fr-")), "devices fr-*"),
        (replace(KEY, bounds=Bounds("", "p."), messages_per_s=5), "products p.*, 5 messages/s"),
        (replace(KEY, messages_per_s=0, commands_per_min=9), "unlimited messages/s, 9 commands/min"),
    ],
)
def test_limits_are_told(key: ApiKey, told: str) -> None:
    """Only those of its own are named, and none is not 0."""
    assert told == key.limits_text


def test_scopes_are_told_in_one_order() -> None:
    """However they were given."""
    assert " ".join(SCOPES) == replace(KEY, scopes=frozenset(reversed(SCOPES))).scopes_text
