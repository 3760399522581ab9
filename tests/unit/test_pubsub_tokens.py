"""Tokens of Pub/Sub's pushes: signature, times and every claim, with keys that change and cannot be had."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heatfleet.errors import NotAllowed, TokensUnverified
from heatfleet.messaging.pubsub import tokens as module
from heatfleet.messaging.pubsub.tokens import GoogleTokens
from tests.google_keys import ACCOUNT, AUDIENCE, Certificates, Key, published

NOW_S = int(time.time())


@pytest.fixture(scope="module")
def key() -> Key:
    """What Google signs with."""
    return Key("first")


@pytest.fixture
def certificates(key: Key, monkeypatch: pytest.MonkeyPatch) -> Iterator[Certificates]:
    """Where Google publishes its certificates; they may be asked for again at once."""
    monkeypatch.setattr(module, "PAUSE_S", -1.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with published(key) as server:
        monkeypatch.setattr(module, "CERTS_URL", server.url)
        yield server


@pytest.fixture
def tokens(certificates: Certificates) -> GoogleTokens:
    """What judges."""
    return GoogleTokens(audience=AUDIENCE, account=ACCOUNT)


async def expect_bad(tokens: GoogleTokens, token: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        await tokens.judge(token)
    assert "bad-token" == refused.value.kind
    assert not [part for part in token.split(".") if len(part) > 8 and part in str(refused.value)]


async def test_a_good_token_is_good(tokens: GoogleTokens, key: Key, certificates: Certificates) -> None:
    """Any number of times, with either name of the issuer, also by a clock ahead; certificates are fetched once."""
    good = [key.token(), key.token(iss="accounts.google.com"), key.token(iat=NOW_S + 5), key.token(nbf=NOW_S + 5)]
    for token in good * 3:
        await tokens.judge(token)

    assert 1 == certificates.fetched


async def test_a_token_that_was_good_ends(tokens: GoogleTokens, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it was found good before does not outlive it."""
    token = key.token(exp=int(time.time()) - 2)  # within what clocks may differ
    await tokens.judge(token)
    monkeypatch.setattr(module, "CLOCK_SKEW_S", 0)

    await expect_bad(tokens, token)


WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://elsewhere.example/pubsub/push"},
    "a longer audience": {"aud": f"{AUDIENCE}/"},
    "no audience": {"aud": None},
    "another account": {"email": "intruder@project.iam.gserviceaccount.com"},
    "no account": {"email": None},
    "an unverified account": {"email_verified": False},
    "an account verified in words": {"email_verified": "true"},
    "another issuer": {"iss": "https://accounts.example.com"},
    "an issuer like Google's": {"iss": "http://accounts.google.com"},
    "expired": {"iat": NOW_S - 7200, "exp": NOW_S - 3600},
    "not valid yet": {"iat": NOW_S + 3600, "exp": NOW_S + 7200},
    "not before": {"nbf": NOW_S + 3600},
    "without end": {"exp": None},
    "without beginning": {"iat": None},
    "an end in words": {"exp": "tomorrow"},
    "a beginning in words": {"nbf": "tomorrow"},
    "a key that is not published": {"kid": "second"},
    "no key named": {"kid": None},
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_token_for_something_else_is_bad(tokens: GoogleTokens, key: Key, case: str) -> None:
    """Each claim is looked at, though the signature is Google's; what is said of it repeats no word of it."""
    await tokens.judge(key.token())
    await expect_bad(tokens, key.token(**WRONG[case]))


def segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def forged(key: Key, header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token with a header of somebody's own, and what only looks like a signature."""
    _, claims, _ = key.token().split(".")
    signed = f"{segment(json.dumps(header).encode())}.{claims}"
    return f"{signed}.{segment(sign(signed.encode()))}"


async def test_a_forged_token_is_bad(tokens: GoogleTokens, key: Key) -> None:
    """Other keys, other algorithms and pieces of tokens are no signature of Google's."""
    header = {"alg": "RS256", "kid": key.key_id, "typ": "JWT"}
    head, claims, signature = key.token().split(".")
    public = key.certificate.encode()
    for token in (
        Key(key.key_id).token(),
        forged(key, header | {"alg": "none"}, lambda _: b""),
        forged(key, header | {"alg": "None"}, lambda _: b"x"),
        forged(key, header | {"alg": ["RS256"]}, lambda _: b"x"),
        forged(key, header | {"alg": "HS256"}, lambda text: hmac.digest(public, text, hashlib.sha256)),
        forged(key, header | {"alg": "ES256"}, lambda _: b"\1" * 64),
        forged(key, header | {"kid": {}}, lambda _: b"x"),
        f"{head}.{claims}.",
        f"{head}.{claims}",
        f"{head}.{claims}.{signature}.e30",
        f"{head}.{segment(b'{}')}.{signature}",
        f"{head}.{segment(b'[]')}.{signature}",
        f"{segment(b'[' * 100_000)}.e30.e30",
        "a.b.c",
        "a.b.\xff",
        "",
    ):
        await expect_bad(tokens, token)
    await tokens.judge(key.token())


async def test_keys_rotate(tokens: GoogleTokens, key: Key, certificates: Certificates) -> None:
    """A new key is good as soon as it is published, and new tokens of one that no longer is are bad."""
    second = Key("second")
    await tokens.judge(key.token())
    await expect_bad(tokens, second.token())

    certificates.keys = [key, second]
    await tokens.judge(second.token())

    certificates.keys = [second]
    await expect_bad(tokens, Key("third").token())
    await expect_bad(tokens, key.token(sub="new"))
    await tokens.judge(second.token(sub="new"))


async def test_made_up_keys_cause_no_storm_of_questions(
    tokens: GoogleTokens, key: Key, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a key that nobody knows makes us ask once in a while, not each time."""
    monkeypatch.setattr(module, "PAUSE_S", 30.0)
    for number in range(5):
        await expect_bad(tokens, key.token(kid=f"made-up-{number}"))

    assert 1 == certificates.fetched


async def test_certificates_that_cannot_be_had(
    tokens: GoogleTokens, key: Key, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is judged without any; those known go on for a day, and a key unknown to them is not judged."""
    certificates.status = 500
    with pytest.raises(TokensUnverified):
        await tokens.judge(key.token())
    certificates.status = 200
    await tokens.judge(key.token())

    certificates.status = 404
    monkeypatch.setattr(module, "CERTS_S", 0.0)
    await tokens.judge(key.token(sub="new"))
    with pytest.raises(TokensUnverified):
        await tokens.judge(Key("second").token())
    monkeypatch.setattr(module, "CERTS_S_MAX", 0.0)
    with pytest.raises(TokensUnverified):
        await tokens.judge(key.token(sub="newer"))


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"first": 7}', b"<html>", b"\xff", b"[" * 100_000])
async def test_what_is_no_certificates_is_none(
    tokens: GoogleTokens, key: Key, certificates: Certificates, body: bytes
) -> None:
    """A proxy's page in their place lets nobody in, and is no defect."""
    certificates.body = body
    with pytest.raises(TokensUnverified):
        await tokens.judge(key.token())


async def test_nobody_listens_where_certificates_are(
    tokens: GoogleTokens, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is refused is no defect either."""
    monkeypatch.setattr(module, "CERTS_URL", "http://127.0.0.1:1/certs")
    with pytest.raises(TokensUnverified):
        await tokens.judge(key.token())
