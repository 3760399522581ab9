"""Who may do what over HTTP: every route with every scope, bounds of keys, and what a browser may bring."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import cast, get_args

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from heatfleet.access import WRONG_KEYS_PER_MIN
from heatfleet.api.app import ROUTERS, App
from heatfleet.api.gate import GatedRoute, opens_to
from heatfleet.config import Settings
from heatfleet.domain.access import SCOPES, Bounds, Scope, new_key
from heatfleet.storage import open_key_ring
from heatfleet.wiring import now_ms
from tests.keys import BY_TEST, bearer, make_key, wait_until_known
from tests.serving import RunningServer, message, ndjson

IN_PLACE_OF = {"device_id": "d1", "command_id": "nobody", "name": "favicon-32x32.png", "slug": "not-found"}
ORDER = {"device_id": "d1", "switch": True}
JSON = {"Content-Type": "application/json"}
Case = tuple[str, str, Scope | None]


def routes() -> Iterator[Case]:
    """Method, path and scope of all there is, from the tables that serve it."""
    yield "POST", "/message", "ingest"
    for router in ROUTERS:
        for route in cast("list[GatedRoute]", router.routes):
            path = re.sub(r"\{(\w+)\}", lambda name: IN_PLACE_OF[name[1]], route.path)
            yield from ((method, path, route.needs) for method in sorted(route.methods or ()))


CASES = sorted(routes(), key=lambda case: case[1])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, dict[Scope, str]]]:
    """A server with a key for each scope."""
    server = RunningServer(tmp_path_factory.mktemp("guarded"))
    keys = {scope: make_key(server.store_url, scope)[0] for scope in SCOPES}
    wait_until_known(server, keys["report"])
    assert server.post(message("d1"), **bearer(keys["ingest"])).is_success
    server.rollup()
    yield server, keys
    server.close()


def ask(server: RunningServer, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of an answer, of which only the head is read: one of the routes never ends."""
    body = json.dumps(message("d1") if path == "/message" else ORDER) if method == "POST" else None
    query = {"device_id": "d1"} if path == "/commands/stream" else {}
    with server.client.stream(method, path, params=query, content=body, headers=JSON | headers) as answer:
        return answer.status_code


def test_the_table_of_routes_is_whole() -> None:
    """Every route the app serves is one of those tested below: with scopes of each kind, and all methods."""
    app = App(Settings(), now_ms)
    served = set(app.openapi()["paths"])
    tested = {re.sub("|".join(IN_PLACE_OF.values()), "*", path) for _, path, _ in CASES}

    assert {re.sub(r"\{\w+\}", "*", path) for path in served} <= tested
    assert set(get_args(Scope)) - {"command:bulk", "admin"} <= {scope for _, _, scope in CASES}


@pytest.mark.parametrize(("method", "path", "needed"), CASES)
def test_each_route_opens_to_its_scope_alone(
    guarded: tuple[RunningServer, dict[Scope, str]], method: str, path: str, needed: Scope | None
) -> None:
    """Deny by default: without a key 401, with one of another scope 403, and neither with the right one."""
    server, keys = guarded
    opens = {needed, "admin"} | ({"command:bulk"} if needed == "command" else set())

    nobody = ask(server, method, path, {})
    by_scope = {scope: ask(server, method, path, bearer(key)) for scope, key in keys.items()}

    assert (nobody == 401) == (needed is not None)
    for scope, status in by_scope.items():
        assert (status == 403) == (needed is not None and scope not in opens), (scope, status)
        assert status not in (401, 500)


def test_a_route_without_scope_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who adds one and says nothing is told before the first request."""
    careless = APIRouter()
    careless.add_api_route("/new", lambda: None)
    monkeypatch.setattr("heatfleet.api.app.ROUTERS", (*ROUTERS, careless))

    with pytest.raises(TypeError, match="/new"):
        App(Settings(), now_ms)


def test_a_key_is_judged_before_the_body(guarded: tuple[RunningServer, dict[Scope, str]]) -> None:
    """Who may not come in does not make the server read or decode anything."""
    server, keys = guarded
    for headers, status in (({}, 401), (bearer(keys["report"]), 403)):
        for path in ("/send", "/message"):
            assert status == server.client.post(path, content=b"{", headers=JSON | headers).status_code


def test_an_ingest_key_cannot_switch_or_read(guarded: tuple[RunningServer, dict[Scope, str]]) -> None:
    """What a gateway in somebody's cellar has gives nothing else away."""
    server, keys = guarded
    headers = bearer(keys["ingest"])

    assert 200 == server.post(message("d1"), **headers).status_code
    assert 403 == server.client.post("/send", json=ORDER, headers=headers).status_code
    for path in ("/report", "/devices", "/devices/d1", "/metrics", "/commands/nobody"):
        problem = server.client.get(path, headers=headers)
        assert (403, "/problems/missing-scope") == (problem.status_code, problem.json()["type"])


def test_a_revoked_key_opens_nothing_on_the_fast_way_either(start_server: Callable[..., RunningServer]) -> None:
    """The door remembers heads, with their keys; it forgets them in time, also on a connection that stays."""
    server = start_server()
    key, key_id = make_key(server.store_url, "ingest")
    other, _ = make_key(server.store_url, "report")
    wait_until_known(server, other)
    assert server.post(message("d1"), **bearer(key)).is_success

    with closing(open_key_ring(server.store_url)) as ring:
        ring.revoke(key_id, 1, by=BY_TEST)
    deadline_s = time.monotonic() + 30
    while (answer := server.post(message("d1"), **bearer(key))).is_success:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)

    assert (401, "/problems/bad-key") == (answer.status_code, answer.json()["type"])
    assert "revoked" in answer.json()["detail"]


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str, str]]:
    """A server that knows devices of two owners, a key for one's devices, and one for a product of the other."""
    server = RunningServer(tmp_path_factory.mktemp("bound"))
    posted = [message(name) for name in ("fr-1", "fr-2", "de-1")]
    posted[2]["bizData"]["productId"] = "q1"
    assert server.post(posted).json()["inserted"] == 3
    server.rollup()
    french, _ = make_key(server.store_url, "ingest", "command:bulk", "report", bounds=Bounds("fr-", ""))
    of_product, _ = make_key(server.store_url, "ingest", "command:bulk", "report", bounds=Bounds("", "q"))
    wait_until_known(server, french)
    yield server, french, of_product
    server.close()


def test_a_bound_key_reads_only_its_own(bound: tuple[RunningServer, str, str]) -> None:
    """Devices of others are as if nobody had heard of them."""
    server, french, of_product = bound

    def get(path: str, key: str) -> tuple[int, str]:
        answer = server.client.get(path, headers=bearer(key))
        return answer.status_code, answer.text

    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        assert 200 == get(f"/devices/{own}", key)[0]
        assert get("/devices/nobody", key) == get(f"/devices/{foreign}", key)
        assert 200 == get(f"/report?device_id={own}", key)[0]
        assert get("/report?device_id=nobody", key) == get(f"/report?device_id={foreign}", key)
        assert 404 == get(f"/report?device_id={foreign}", key)[0]
        assert 403 == get("/report", key)[0]
        assert 403 == get("/report/temperature", key)[0]
    assert 403 == get("/report?product_id=q1", french)[0]
    assert 200 == get("/report?product_id=q1", of_product)[0]
    assert 404 == get("/report?product_id=p1", of_product)[0]
    listed = {
        key: [device["device_id"] for device in json.loads(get("/devices", key)[1])["devices"]]
        for key in (french, of_product)
    }
    assert {french: ["fr-1", "fr-2"], of_product: ["de-1"]} == listed


@pytest.mark.parametrize("count", [2, 2000])
@pytest.mark.parametrize("as_lines", [True, False])
def test_a_bound_key_writes_only_its_own(bound: tuple[RunningServer, str, str], count: int, as_lines: bool) -> None:
    """Messages of other devices are refused by index, on the small way and by the decoders."""
    server, french, _ = bound
    batch = [message("fr-1"), message("de-1")] * (count // 2)
    body = ndjson(*batch) if as_lines else json.dumps(batch).encode()
    kind = "application/x-ndjson" if as_lines else "application/json"

    answer = server.post(body, Content_Type=kind, **bearer(french)).json()

    assert count // 2 == answer["inserted"]
    assert list(range(1, count, 2)) == [rejected["index"] for rejected in answer["rejected"]]
    assert {"/problems/foreign-device"} == {rejected["type"] for rejected in answer["rejected"]}


def test_a_bound_key_and_one_message(bound: tuple[RunningServer, str, str]) -> None:
    """One message of another's device is refused; its own is stored."""
    server, french, of_product = bound

    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        mine, theirs = message(own), message(foreign)
        mine["bizData"]["productId"] = "q1" if own == "de-1" else "p1"
        assert 200 == server.post(mine, **bearer(key)).status_code
        refused = server.post(theirs, **bearer(key))
        assert (403, "/problems/foreign-device") == (refused.status_code, refused.json()["type"])


def test_a_bound_key_switches_only_its_own(bound: tuple[RunningServer, str, str]) -> None:
    """The order, what became of it, and the stream: all of others' devices are unknown to it."""
    server, french, of_product = bound
    client = server.client
    for key, own, foreign in ((french, "fr-1", "de-1"), (of_product, "de-1", "fr-1")):
        headers = bearer(key)
        sent = client.post("/send", json={"device_id": own, "switch": True}, headers=headers)
        assert 200 == sent.status_code
        other = bearer(of_product if key == french else french)
        place = sent.headers["Location"]
        assert 200 == client.get(place, headers=headers).status_code
        unknown = client.get("/commands/nobody", headers=other)
        assert (404, unknown.json()) == ((theirs := client.get(place, headers=other)).status_code, theirs.json())

        for device in (foreign, "nobody"):
            refused = client.post("/send", json={"device_id": device, "switch": True}, headers=headers)
            assert (404, "/problems/not-found") == (refused.status_code, refused.json()["type"])
        for query, status in (
            ({"device_id": own}, 200),
            ({"device_id": foreign}, 404),
            ({"device_id": [own, foreign]}, 404),
            ({"product_id": "p1"}, 403 if key == french else 404),
            ({"product_id": "q1"}, 403 if key == french else 200),
        ):
            with client.stream("GET", "/commands/stream", params=query, headers=headers) as answer:
                assert status == answer.status_code, query


def test_wrong_keys_are_counted(start_server: Callable[..., RunningServer]) -> None:
    """After 20 in a minute an address is told to wait, on every route; the log has no key."""
    server = start_server()
    key, _ = make_key(server.store_url, "report", "ingest")
    wait_until_known(server, key)
    wrong = [new_key()[0] for _ in range(WRONG_KEYS_PER_MIN + 5)]
    statuses = [server.client.get("/report", headers=bearer(one)).status_code for one in wrong]
    posted = server.post(message("d1"), **bearer(wrong[0]))

    assert [401] * WRONG_KEYS_PER_MIN + [429] * 5 == statuses
    assert 429 == posted.status_code
    assert 0 < int(posted.headers["Retry-After"]) <= 121
    assert 200 == server.client.get("/report", headers=bearer(key)).status_code
    assert 200 == server.post(message("d1"), **bearer(key)).status_code
    log = server.log_path.read_text()
    assert "too many wrong keys" in log
    assert not [one for one in (key, *wrong) if one[5:] in log]


def test_limits_of_a_key(start_server: Callable[..., RunningServer]) -> None:
    """Beyond its messages or orders a key is told to wait; others are not."""
    server = start_server(key_commands_per_min=3)
    small, _ = make_key(server.store_url, "ingest", "command", "report", messages_per_s=1)
    large, _ = make_key(server.store_url, "ingest", "command", "report")
    wait_until_known(server, large)
    for body in ([message("d1")] * 10, [message("d1")] * 1000):  # by the door, and by a decoder
        while (first := server.post(body, **bearer(small))).status_code == 429:
            time.sleep(min(0.2, int(first.headers["Retry-After"])))
        refused = server.post(body, **bearer(small))

        assert 200 == first.status_code
        assert (429, "/problems/over-limit") == (refused.status_code, refused.json()["type"])
        assert 1 <= int(refused.headers["Retry-After"])
        assert 200 == server.post(body, **bearer(large)).status_code
        if len(body) == 10:
            continue
        chunked = server.client.post("/message", content=iter([b"{}"]), headers=JSON | bearer(small))
        assert 429 == chunked.status_code, "the long way has the same limit"

    for key in (small, large):
        statuses = [server.client.post("/send", json=ORDER, headers=bearer(key)).status_code for _ in range(4)]
        assert [200, 200, 200, 429] == statuses


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
    assert 421 == named.client.get("/report", headers=bearer(key) | {"Host": "localhost"}).status_code


def test_the_document_says_what_each_route_needs(shared_server: RunningServer) -> None:
    """So that generated clients ask for a key."""
    document = shared_server.client.get("/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    needs = {
        (method, path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert ("http", "bearer") == (scheme["type"], scheme["scheme"])
    assert [{"ApiKey": ["ingest"]}] == needs["post", "/message"]
    assert [{"ApiKey": ["command"]}] == needs["post", "/send"]
    assert [] == needs["get", "/livez"]
    assert None not in needs.values()


def test_routers_are_fastapi_routes() -> None:
    """The gate stands in the framework's own class, so all that it offers goes on working."""
    assert issubclass(opens_to("report"), APIRoute)
    assert isinstance(App(Settings(), now_ms), FastAPI)
