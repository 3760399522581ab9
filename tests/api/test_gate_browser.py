"""What a browser could be made to send by a page of somebody else is refused."""

import json
from collections.abc import Callable

import pytest

from tests.keys import bearer, make_key, wait_until_known
from tests.serving import RunningServer, message

ORDER = {"device_id": "d1", "switch": True}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", ["/message", "/send"])
@pytest.mark.parametrize(
    ("headers", "status", "problem"),
    [
        ({"Origin": "http://evil.example"}, 403, "cross-site"),
        ({"Origin": "null"}, 403, "cross-site"),
        ({"Origin": "http://localhost:1"}, 403, "cross-site"),
        ({"Content-Type": "text/plain"}, 415, "unsupported-type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-type"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415, "unsupported-type"),
        ({"Host": "evil.example"}, 421, "foreign-host"),
        ({"Host": "evil.example:8000"}, 421, "foreign-host"),
        ({"X-Forwarded-For": "203.0.113.9"}, 401, "needs-key"),
        ({"Forwarded": "for=203.0.113.9"}, 401, "needs-key"),
        ({"Via": "1.1 proxy"}, 401, "needs-key"),
        ({"CF-Connecting-IP": "203.0.113.9"}, 401, "needs-key"),
        ({"X-Forwarded-Proto": "https"}, 401, "needs-key"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "cross-site"),
    ],
)
def test_what_a_page_of_another_site_can_send_is_refused(
    shared_server: RunningServer, path: str, headers: dict[str, str], status: int, problem: str
) -> None:
    """Without keys: no cross-site form, no script, no rebound name and no careless proxy can store or switch."""
    body = message("cross-site") if path == "/message" else ORDER | {"device_id": "cross-site"}

    answer = shared_server.client.post(path, content=json.dumps(body), headers=JSON | headers)

    assert (status, f"/problems/{problem}") == (answer.status_code, answer.json()["type"])


def test_no_other_site_may_read(shared_server: RunningServer) -> None:
    """No answer invites a browser to let other sites read it, asked beforehand or not."""
    client = shared_server.client
    asked = client.options("/send", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})
    answers = [asked, client.get("/report", headers={"Origin": "http://evil.example"}), client.get("/livez")]

    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]
    assert not asked.is_success


def test_a_page_of_our_own_may_send(shared_server: RunningServer) -> None:
    """Such as "Try it out" in /docs."""
    own = {"Origin": shared_server.base_url}

    assert 200 == shared_server.post(message("d1"), **own).status_code
    assert 200 == shared_server.client.post("/send", json=ORDER, headers=own).status_code


def test_with_keys_hosts_and_origins_do_not_matter_unless_named(start_server: Callable[..., RunningServer]) -> None:
    """A browser adds no key by itself; an operator may still name the hosts there are."""
    server = start_server()
    key, _ = make_key(server.store_url, "report")
    wait_until_known(server, key)
    strange = {"Host": "heat.example", "Origin": "http://other.example", "X-Forwarded-For": "203.0.113.9"}
    assert 200 == server.client.get("/report", headers=bearer(key) | strange).status_code

    named = start_server(allowed_hosts="heat.example, 127.0.0.1")
    key, _ = make_key(named.store_url, "report")
    wait_until_known(named, key)

    assert 200 == named.client.get("/report", headers=bearer(key) | strange).status_code
    assert 200 == named.client.get("/report", headers=bearer(key) | {"Host": "localhost"}).status_code
    assert 421 == named.client.get("/report", headers=bearer(key) | {"Host": "other.example"}).status_code
