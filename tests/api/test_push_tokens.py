"""POST /pubsub/push: whose pushes are taken."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heatfleet.domain.access import SCOPES
from tests.google_keys import ACCOUNT, Certificates, Key, PushServer, published
from tests.keys import bearer, make_key, wait_until_known
from tests.pushes import PATH, envelope, push, slug
from tests.serving import RunningServer, message

PUSH = envelope(json.dumps(message("d1")).encode())
NOW_S = int(time.time())


@pytest.fixture(scope="module")
def key() -> Key:
    """What Google signs with."""
    return Key("first")


@pytest.fixture(scope="module")
def certificates(key: Key) -> Iterator[Certificates]:
    """Where Google publishes its certificates."""
    with published(key) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[PushServer]:
    """A server that takes pushes with a token."""
    running = PushServer(tmp_path_factory.mktemp("push"), certificates)
    yield running
    running.close()


def test_a_good_token_lets_in(server: PushServer, key: Key, certificates: Certificates) -> None:
    """Any number of times, with either name of the issuer, and the certificates are fetched once."""
    tokens = [key.token(), key.token(iss="accounts.google.com"), key.token(iat=NOW_S + 5)]
    for token in tokens * 3:
        assert 204 == push(server, PUSH, token).status_code

    assert 1 == certificates.fetched


def test_a_wrong_token_does_not(server: PushServer, key: Key) -> None:
    """401 before anything of the body is read, with what to do; no token is in an answer or in the log."""
    wrong = [
        key.token(aud="https://elsewhere.example"),
        Key(key.key_id).token(),
        make_key(server.store_url, "admin")[0],
    ]
    answers = [push(server, b"{", token) for token in wrong]
    answers += [push(server, PUSH), push(server, PUSH, Authorization="Basic eyJ")]
    twice = [("Authorization", f"Bearer {key.token()}")] * 2

    for answer in answers:
        assert (401, "bad-token") == slug(answer)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert not [token for token in wrong if token[-20:] in answer.text]
    assert (401, "bad-key") == slug(server.client.post(PATH, json=PUSH, headers=twice))
    assert not [token for token in wrong if token[-20:] in server.log_path.read_text()]


def test_wrong_tokens_are_counted(tmp_path: Path, certificates: Certificates, key: Key) -> None:
    """After 20 in a minute an address is told to wait; the metric tells of each, and one with a right token goes on."""
    running = PushServer(tmp_path, certificates)
    statuses = [push(running, PUSH, key.token(aud="x", sub=str(number))).status_code for number in range(22)]

    assert [401] * 20 + [429] * 2 == statuses
    assert 20 == running.metric('heatfleet_rejected_total{reason="bad-token"}')
    assert 204 == push(running, PUSH, key.token()).status_code
    running.close()


def test_without_certificates_pushes_are_told_to_come_again(tmp_path: Path) -> None:
    """503 while Google cannot be asked, and one question for a storm of pushes; then they are taken."""
    key = Key("first")
    with published(key) as certificates:
        certificates.status = 500
        running = PushServer(tmp_path, certificates, pause_s=30)
        for _ in range(3):
            refused = push(running, PUSH, key.token())
            assert (503, "token-unverified") == slug(refused)
            assert int(refused.headers["Retry-After"]) >= 30
        assert 1 == certificates.fetched
        running.close()


def test_push_is_off_until_it_is_set(start_server: Callable[..., RunningServer]) -> None:
    """A server with keys refuses every push, whatever key it shows, and says what to set."""
    running = start_server()
    keys = [make_key(running.store_url, scope)[0] for scope in SCOPES]
    wait_until_known(running, keys[0])
    for headers in ({}, *(bearer(one) for one in keys), {"Authorization": "Basic x"}):
        answer = push(running, PUSH, **headers)

        assert (403, "push-off") == slug(answer)
        assert "HEATFLEET_PUSH_AUDIENCE" in answer.json()["detail"]
    assert 0 == running.metric("heatfleet_messages_total")


def test_an_open_server_takes_unsigned_pushes_of_its_own_machine(shared_server: RunningServer) -> None:
    """For a trial: without keys and on loopback; but not from pages of other sites, for other hosts, or by a proxy."""
    assert 204 == push(shared_server, PUSH).status_code
    for headers, problem in (
        ({"Origin": "https://evil.example"}, (403, "cross-site")),
        ({"Host": "evil.example"}, (421, "foreign-host")),
        ({"X-Forwarded-For": "203.0.113.9"}, (401, "needs-key")),
    ):
        assert problem == slug(push(shared_server, PUSH, **headers))


def test_a_token_counts_through_a_proxy_and_without_keys(tmp_path: Path, certificates: Certificates, key: Key) -> None:
    """Once pushes are set up, the token alone lets in: also where no key was ever made, and from afar."""
    running = PushServer(tmp_path, certificates)

    assert (401, "bad-token") == slug(push(running, PUSH))
    for headers in ({}, {"X-Forwarded-For": "203.0.113.9"}, {"Host": "heatfleet.example"}):
        assert 204 == push(running, PUSH, key.token(), **headers).status_code
    running.close()


def test_half_of_the_settings_is_none(tmp_path: Path, certificates: Certificates) -> None:
    """A server that was told one of the two does not start, and names both."""
    with pytest.raises(AssertionError, match="HEATFLEET_PUSH_AUDIENCE and HEATFLEET_PUSH_ACCOUNT"):
        PushServer(tmp_path, certificates, push_account="")


def test_the_account_is_the_one_of_the_settings(tmp_path: Path, certificates: Certificates, key: Key) -> None:
    """Tokens of the same audience for another account are of no use, and vice versa."""
    running = PushServer(tmp_path, certificates, push_account=f"other-{ACCOUNT}")

    assert 401 == push(running, PUSH, key.token()).status_code
    assert 204 == push(running, PUSH, key.token(email=f"other-{ACCOUNT}")).status_code
    running.close()
