"""The documentation: right, whole, and without a request to anywhere else."""

import re
from typing import Any

import jsonschema_rs
import pytest

from tests.serving import RunningServer

EXTERNAL = re.compile(r"""(?:src|href|url)\s*[=:(]\s*["']?(?:https?:)?//""", re.IGNORECASE)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_ask_no_other_host(shared_server: RunningServer, page: str) -> None:
    """All that a page loads comes from this server, and the browser is told to allow nothing else."""
    answer = shared_server.client.get(page)
    loaded = re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text)

    assert 200 == answer.status_code
    assert answer.headers["content-type"].startswith("text/html")
    assert not EXTERNAL.search(answer.text)
    assert loaded
    for address in loaded:
        assert 200 == shared_server.client.get(address).status_code, address
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_assets_are_the_pages_and_nothing_else(shared_server: RunningServer) -> None:
    """Scripts come as UTF-8, as they must; other files of the package are not served."""
    script = shared_server.client.get("/assets/redoc.standalone.js")

    assert "text/javascript; charset=utf-8" == script.headers["content-type"]
    for name in ("README.md", "..%2fapp.py", "../app.py", "nothing.js"):
        assert 404 == shared_server.client.get(f"/assets/{name}").status_code


def test_home_leads_to_the_documentation(shared_server: RunningServer) -> None:
    """A newcomer who opens the bare address finds the documentation."""
    answer = shared_server.client.get("/")

    assert (307, "/docs") == (answer.status_code, answer.headers["location"])


@pytest.fixture(scope="module")
def document(shared_server: RunningServer) -> dict[str, Any]:
    """The API's OpenAPI document."""
    content: dict[str, Any] = shared_server.client.get("/openapi.json").json()
    return content


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every operation with its path and method."""
    return [(path, method, what) for path, item in document["paths"].items() for method, what in item.items()]


def test_every_path_is_documented(document: dict[str, Any]) -> None:
    """The documented paths are the ones there are for programs."""
    assert {
        "/message",
        "/pubsub/push",
        "/report",
        "/report/power",
        "/report/temperature",
        "/send",
        "/audit",
        "/commands/stream",
        "/commands/{command_id}",
        "/devices",
        "/devices/{device_id}",
        "/livez",
        "/readyz",
        "/metrics",
        "/problems",
        "/problems/{slug}",
    } == set(document["paths"])


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Each reference within the document has its target, and the framework's own errors are gone."""
    schemas = document["components"]["schemas"]
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert used == set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & used


def test_refusals_are_documented_as_problems(document: dict[str, Any]) -> None:
    """Every documented 4xx and 5xx, but for readiness, is a problem document."""
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and path != "/readyz":
                assert {"application/problem+json"} == set(response["content"]), (path, status)


def test_messages_examples_run(shared_server: RunningServer, document: dict[str, Any]) -> None:
    """Every example of POST /message is stored by the server, and fits its schema."""
    content = document["paths"]["/message"]["post"]["requestBody"]["content"]
    for media_type, described in content.items():
        schema = described["schema"] | {"components": document["components"]}
        for example in described["examples"].values():
            assert jsonschema_rs.is_valid(schema, example["value"])
            body = example["value"].encode() if isinstance(example["value"], str) else example["value"]
            answer = shared_server.post(body, Content_Type=media_type)

            assert "ok" == answer.json()["status"]


def test_messages_answers_fit_their_schemas(shared_server: RunningServer, document: dict[str, Any]) -> None:
    """What POST /message answers is what the document says, example by example."""
    responses = document["paths"]["/message"]["post"]["responses"]
    good, bad = b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"d","productId":"p","properties":[]}}', b"{}"
    for body in (good, b"[" + good + b"," + bad + b"]", bad, b"[" + bad + b"]", b"{"):
        answer = shared_server.post(body)
        described = responses[str(answer.status_code)]["content"][answer.headers["content-type"]]
        schema = described["schema"] | {"components": document["components"]}

        assert jsonschema_rs.is_valid(schema, answer.json())
        for example in described["examples"].values():
            assert jsonschema_rs.is_valid(schema, example["value"])
    assert {"200", "400", "401", "403", "405", "413", "415", "421", "422", "429", "500", "503"} == set(responses)
