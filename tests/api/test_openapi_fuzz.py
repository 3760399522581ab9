"""The whole API, as its document describes it, against requests that nobody thought of."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.serving import SEED_MESSAGE, RunningServer

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""No 5xx, and nothing undocumented. What a schema cannot say (later than `from`, a used key) is tested by hand."""


@schemathesis.serializer("application/x-ndjson")
def lines(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """Lines are sent as they are."""
    return str(value).encode(errors="replace")


def test_no_request_breaks_the_api(server: RunningServer) -> None:
    """Any request at all gets a documented answer of the documented shape, and never a 5xx."""
    server.post(SEED_MESSAGE)
    server.rollup()
    api = schemathesis.openapi.from_url(f"{server.base_url}/openapi.json")
    # A stream has no end to wait for; it is tested by hand.
    found = api.exclude(path="/commands/stream").get_all_operations()
    operations = [operation.ok() for operation in found if isinstance(operation, Ok)]

    assert len(operations) >= 13

    for operation in operations:
        good, bad = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

        @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
        @given(good | bad)
        def answers_as_documented(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        answers_as_documented()
