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
from heatfleet.api.gate import GatedRoute, PushRoute, opens_to
from heatfleet.config import Settings
from heatfleet.domain.access import SCOPES, Scope, new_key
from heatfleet.storage import open_key_ring
from heatfleet.wiring import now_ms
from tests.keys import BY_TEST, bearer, make_key, wait_until_known
from tests.pushes import PATH as PUSH_PATH
from tests.serving import RunningServer, message

IN_PLACE_OF = {"device_id": "d1", "command_id": "nobody", "name": "favicon-32x32.png", "slug": "not-found"}
ORDER = {"device_id": "d1", "switch": True}
JSON = {"Content-Type": "application/json"}
Case = tuple[str, str, Scope | None]


def routes() -> Iterator[Case]:
    """Method, path and scope of all there is, from the tables that serve it; whatever Pub/Sub calls opens to no key."""
    yield "POST", "/message", "ingest"
    for router in ROUTERS:
        for route in cast("list[GatedRoute]", router.routes):
            if isinstance(route, PushRoute):
                continue
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
    tested |= {PUSH_PATH}  # by tests/api/test_push_tokens.py

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


def test_refused_messages_count_tenfold(start_server: Callable[..., RunningServer]) -> None:
    """Looking at bad ones costs more than storing good ones: a key cannot keep the server busy with them for ever."""
    server = start_server()
    key, _ = make_key(server.store_url, "ingest", messages_per_s=100)
    wait_until_known(server, key)
    first = server.post(b"[" + b"0," * 999 + b"0]", **bearer(key))
    second = server.post([message("d1")], **bearer(key))

    assert [422, 429] == [first.status_code, second.status_code]
    assert 99 <= int(second.headers["Retry-After"])


@pytest.mark.parametrize("path", ["/message", "/send"])
@pytest.mark.parametrize("size", [300, 60_000])
def test_a_key_that_ends_while_its_body_comes_is_good_for_nothing(
    start_server: Callable[..., RunningServer], path: str, size: int
) -> None:
    """Neither a message nor an order is taken that was begun with a key and ended without."""
    server = start_server()
    key, key_id = make_key(server.store_url, "ingest", "command")
    wait_until_known(server, key)
    body = json.dumps(message("d1") if path == "/message" else ORDER).encode().ljust(size)

    def slowly() -> Iterator[bytes]:
        yield body[:100]
        with closing(open_key_ring(server.store_url)) as ring:
            ring.revoke(key_id, 1, by=BY_TEST)
        time.sleep(5)
        yield body[100:]

    headers = JSON | bearer(key) | {"Content-Length": str(size)}
    answer = server.client.post(path, content=slowly(), headers=headers)

    assert (401, "/problems/bad-key") == (answer.status_code, answer.json()["type"])


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
