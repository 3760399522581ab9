"""GET /livez, /readyz and /metrics."""

import re
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from heatfleet.api import health
from heatfleet.errors import StoreUnavailable
from heatfleet.metrics import Metrics
from tests.serving import SEED_MESSAGE, RunningServer, message


def test_a_server_is_alive_and_ready(shared_server: RunningServer) -> None:
    """A server that has started says so."""
    assert {"status": "alive"} == shared_server.client.get("/livez").json()
    assert {"status": "ready", "reasons": []} == shared_server.client.get("/readyz").json()


class Failing:
    """A store, or a writer, that cannot do anything now."""

    def check(self) -> None:
        """Say so."""
        raise StoreUnavailable("the disk is on holiday", retry_after_s=7)

    def status(self, now_ms: int) -> None:
        """Say so."""
        self.check()


class FailingIngest:
    """A writer whose last commit failed."""

    trouble = StoreUnavailable("the disk is on holiday", retry_after_s=7)

    def refusal(self) -> None:
        """It takes more, and tries again."""


def test_a_failing_store_is_not_ready() -> None:
    """When a part cannot work, /readyz says which and when to come back, and /metrics still works."""
    app = FastAPI()
    app.include_router(health.router)
    app.add_api_route("/metrics", health.metrics)  # whom it opens to is the gate's affair

    @app.middleware("http")
    async def give_services(request: Request, call_next: Any) -> Response:
        request.state.services = SimpleNamespace(
            store=Failing(),
            ingest=FailingIngest(),
            access=SimpleNamespace(trouble=None),
            bus=SimpleNamespace(trouble=None),
            metrics=Metrics(),
            clock=lambda: 0,
        )
        answer: Response = await call_next(request)
        return answer

    client = TestClient(app, base_url="http://localhost")
    ready = client.get("/readyz")

    assert (503, "7") == (ready.status_code, ready.headers["retry-after"])
    assert {"status": "unavailable", "reasons": ["the disk is on holiday"] * 2} == ready.json()
    assert 200 == client.get("/livez").status_code
    assert "heatfleet_rollup_lag_seconds NaN" in client.get("/metrics").text


def test_metrics_count_what_happened(server: RunningServer) -> None:
    """Messages, readings, drops, rejections by reason, commits and answers by route are counted."""
    told = message("d1", {"code": "instant_power", "time": 1_732_631_573_782, "value": 1}, {"code": "mode"})
    server.post(told)
    server.post([message("d2"), message("d 3")])
    server.post(b"{")
    server.client.get("/devices/nobody")
    server.client.get("/made-up/path")

    assert 2 == server.metric("heatfleet_messages_total")
    assert 2 == server.metric("heatfleet_readings_total")
    assert 1 == server.metric("heatfleet_properties_dropped_total")
    assert 1 == server.metric('heatfleet_rejected_total{reason="bad-id"}')
    assert 1 == server.metric('heatfleet_rejected_total{reason="broken-json"}')
    assert 2 == server.metric("heatfleet_commit_seconds_count")
    assert 2 == server.metric("heatfleet_commit_readings_sum")
    assert 0 == server.metric("heatfleet_queue_readings")
    assert 2 == server.metric('heatfleet_http_answers_total{route="/message",status="200"}')
    assert 1 == server.metric('heatfleet_http_answers_total{route="/message",status="400"}')
    assert 1 == server.metric('heatfleet_http_answers_total{route="/devices/{device_id}",status="404"}')
    assert 1 == server.metric('heatfleet_http_answers_total{route="unknown",status="404"}')


def test_the_lag_is_that_of_the_oldest_unreckoned_reading(server: RunningServer) -> None:
    """The rollup's lag grows with what waits for it, and is 0 when nothing does."""
    assert 0 == server.metric("heatfleet_rollup_lag_seconds")

    server.post(SEED_MESSAGE)

    assert 0 < server.metric("heatfleet_rollup_lag_seconds") < 60

    server.rollup()

    assert 0 == server.metric("heatfleet_rollup_lag_seconds")


def test_metrics_are_prometheus_text(shared_server: RunningServer) -> None:
    """The page is the text format; every metric is ours, explained, and declared in one place."""
    answer = shared_server.client.get("/metrics")
    declared = {family.name: family.documentation for family in Metrics().registry.collect()}

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    shown = {family.name: family.documentation for family in text_string_to_metric_families(answer.text)}
    assert declared == shown
    assert all(re.fullmatch(r"heatfleet_[a-z_]+", name) and text.endswith(".") for name, text in declared.items())
