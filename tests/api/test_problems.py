"""Refusals: one shape, one table, and an explanation for each."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from heatfleet import errors
from heatfleet.api import handlers
from heatfleet.api.problem_table import PROBLEMS, TABLE
from heatfleet.api.problems import answer_error, slug_of
from heatfleet.api.watch import SmallBodies, Watch
from heatfleet.metrics import Metrics
from tests.serving import RunningServer


def test_each_problem_is_explained_by_the_server(shared_server: RunningServer) -> None:
    """The type of every problem is an address that says what it means and what to do."""
    listed = shared_server.client.get("/problems").json()["problems"]

    assert [problem.type for problem in TABLE] == [item["type"] for item in listed]
    for item in listed:
        page = shared_server.client.get(item["type"])

        assert 200 == page.status_code
        assert item == page.json()
        assert re.fullmatch(r"/problems/[a-z-]+", item["type"])
        assert item["advice"].strip()
        assert item["retryable"] == (item["status"] in (429, 503))


def test_what_is_not_there_is_a_problem_too(shared_server: RunningServer) -> None:
    """Unknown paths and methods give problem documents."""
    for method, path, status, slug in (
        ("GET", "/nothing", 404, "no-such-path"),
        ("GET", "/message/", 404, "no-such-path"),
        ("GET", "/problems/nothing", 404, "not-found"),
        ("DELETE", "/devices", 405, "method-not-allowed"),
        ("GET", "/send", 405, "method-not-allowed"),
    ):
        answer = shared_server.client.request(method, path)

        assert (status, f"/problems/{slug}") == (answer.status_code, answer.json()["type"])
        assert "application/problem+json" == answer.headers["content-type"]


def test_orders_have_256_kib_at_most(shared_server: RunningServer) -> None:
    """Other routes refuse large bodies with 413, announced or not."""
    body = b'{"device_id": "d1", "switch": true, "note": "' + b"x" * 262_144 + b'"}'
    for content in (body, iter([body[:140_000], body[140_000:]])):
        answer = shared_server.client.post("/send", content=content, headers={"Content-Type": "application/json"})

        assert (413, "/problems/too-large") == (answer.status_code, answer.json()["type"])


@pytest.mark.parametrize(
    "body", [b"{", b"NaN", b"[" * 50_000, b"1" * 50_000, b'"\xff"', b'{"device_id": NaN, "switch": 1e999}', b"[]", b""]
)
def test_broken_bodies_never_give_a_5xx(shared_server: RunningServer, body: bytes) -> None:
    """Whatever is sent to /send, it is refused as a problem of the sender."""
    answer = shared_server.client.post("/send", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.json()["type"] in ("/problems/broken-json", "/problems/bad-field")


def test_every_error_has_its_problem() -> None:
    """Each class of error that may reach a caller has a row; set-up errors do not reach one."""

    def leaves(kind: type[Exception]) -> list[type[Exception]]:
        children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
        return [leaf for child in children for leaf in leaves(child)] or [kind]

    reachable = set(leaves(errors.HeatfleetError))
    mapped = {row.error for row in TABLE if row.error}

    none_asks_for_it = {errors.AnotherRollup, errors.SetupError}
    named_by_kind = {errors.BadMessage, errors.NotAllowed}
    assert none_asks_for_it | named_by_kind == reachable - mapped
    assert "internal" == slug_of(errors.SetupError("?"))


def test_a_refusal_says_when_to_come_back() -> None:
    """Every "not now" carries Retry-After in whole seconds; the store's own words stay in the log."""
    answer = answer_error(errors.StoreUnavailable("/var/heatfleet.db: the disk is full", retry_after_s=7))

    assert 503 == answer.status_code
    assert 7 <= int(answer.headers["retry-after"]) <= 15
    assert b"/var" not in answer.body


def watched(routes: Any) -> TestClient:
    """A client of an app with these routes behind our middleware."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"services": SimpleNamespace(metrics=Metrics())}

    app = FastAPI(lifespan=lifespan, middleware=[Middleware(Watch), Middleware(SmallBodies)])
    handlers.add_handlers(app)
    routes(app)
    return TestClient(app, base_url="http://localhost")


def test_a_defect_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    """An error nobody planned for gives an id, under which the log has it, and nothing else."""

    def routes(app: FastAPI) -> None:
        @app.get("/defect")
        async def defect() -> None:
            raise ZeroDivisionError("secret")

        @app.get("/setup")
        async def setup() -> None:
            raise errors.SetupError("secret")

    with watched(routes) as client:
        for path in ("/defect", "/setup"):
            answer = client.get(path)

            assert 500 == answer.status_code
            assert "/problems/internal" == answer.json()["type"]
            assert re.fullmatch(r"[0-9a-f]{16}", answer.json()["request_id"])
            assert "secret" not in answer.text


def test_half_an_answer_is_broken_off() -> None:
    """An error after the answer has begun cannot become a 500; the connection breaks instead."""

    def routes(app: FastAPI) -> None:
        @app.get("/half")
        async def half(request: Request) -> StreamingResponse:
            def body() -> Any:
                yield b"half"
                raise ZeroDivisionError

            return StreamingResponse(body())

    with watched(routes) as client, pytest.raises(ZeroDivisionError):
        client.get("/half")


def test_slugs_are_unique() -> None:
    """Each problem has one name."""
    assert len(TABLE) == len(PROBLEMS)
