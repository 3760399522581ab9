"""The server and its OpenAPI document agree: whatever is sent, nothing is answered that the document does not say."""

import base64
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from hypothesis import strategies as st
from schemathesis import Case, Response
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from heatfleet.api.app import create_app
from heatfleet.config import Settings
from tests.google_keys import Key, PushServer, published
from tests.keys import bearer, make_key, wait_until_known
from tests.pushes import PATH as PUSH_PATH
from tests.pushes import envelope, push
from tests.serving import SEED_MESSAGE, message, ndjson

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PUSH = f"POST {PUSH_PATH}"
# What a request may be refused for though the document allows it: rules that OpenAPI has no words for.
BEYOND_OPENAPI = {
    "POST /message": {"broken-json", "bad-value", "bad-time", "all-rejected"},
    "POST /send": {"key-reused"},
    # What stands in base64, and how it must be filled.
    PUSH: {
        "bad-field",
        "broken-json",
        "foreign-biz-code",
        "bad-id",
        "bad-value",
        "bad-time",
        "all-rejected",
        "partly-rejected",
    },
    "GET /audit": {"bad-query"},  # no such day, or a device and a key
    "GET /commands/stream": {"bad-query"},  # either devices or a product
    "GET /devices": {"bad-query"},  # a cursor that the server never gave
    "GET /report": {"bad-query"},  # no such zone, or a range that ends before it begins
    "GET /report/power": {"bad-query"},
    "GET /report/temperature": {"bad-query"},
}
STREAM = "/commands/stream"
STREAM_READ_S = 0.3  # it has no end
EXAMPLES = 40


DOCUMENT: dict[str, Any] = create_app(Settings.model_construct()).openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT)

lines_ = st.one_of(
    st.integers(0, 9).map(lambda number: ndjson(message(f"d{number}"))),
    st.builds(
        lambda code, time, value: ndjson(message("d", {"code": code, "time": time, "value": value})),
        st.sampled_from(["instant_power", "temp_interior", "switch"]),
        st.sampled_from([None, 0, 1_732_631_573_782, 2**60, "now"]),
        st.sampled_from([0, -1, 19.5, 1e5, 1e9, True, None, "19.5", [1]]),
    ),
    st.sampled_from([b"\n", b"{}\n", b"[]\n", b"null\n", b"{\n", b"\xff\n", ndjson(message("d d")), SEED_MESSAGE]),
    st.binary(max_size=40),
)
batches_ = st.lists(lines_, max_size=8).map(b"".join)
schemathesis.openapi.media_type("application/x-ndjson", batches_)
schemathesis.openapi.format("byte", batches_.map(lambda batch: base64.b64encode(batch).decode()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushServer]:
    """A server with keys, that knows the device of the document's examples, has an order for it, and takes pushes."""
    signer = Key("first")
    with published(signer) as certificates:
        running = PushServer(tmp_path_factory.mktemp("schema"), certificates, key_commands_per_min=0)
        running.token = signer.token()
        assert push(running, envelope(SEED_MESSAGE), running.token).is_success
    key, _ = make_key(running.store_url, "admin")
    wait_until_known(running, key)
    running.client.headers.update(bearer(key))
    running.post(SEED_MESSAGE)
    running.rollup()
    running.client.post("/send", json={"device_id": "bfadafebb608a154206aqu", "switch": True})
    yield running
    running.close()


def check(case: Case[Any], response: Response) -> None:
    """Every check there is: status, headers, types and bodies are documented, and bad requests are refused."""
    problem = json.loads(response.content or b"{}") if response.status_code in range(400, 500) else {}
    slug = str(problem.get("type", "")).removeprefix("/problems/")
    excluded: list[CheckFunction] = (
        [positive_data_acceptance] if slug in BEYOND_OPENAPI.get(case.operation.label, ()) else []
    )
    # It shows so many wrong keys that it is soon told to wait; tests/api/test_gate.py looks at each route's door.
    excluded += [ignored_auth]
    # The document says what to send; what is not kept may be anything, and an empty Content-Encoding is none.
    lenient = case.operation.label in ("POST /message", PUSH) or slug == "too-large"
    excluded += [negative_data_rejection] if lenient else []
    case.validate_response(response, excluded_checks=excluded)


def shown(server: PushServer, label: str = "") -> dict[str, str]:
    """The server's key, as all requests show it but those that see whether one is asked for; Pub/Sub shows a token."""
    if label == PUSH:
        return bearer(server.token)
    return {"Authorization": server.client.headers["Authorization"]}


def packed(case: Case[Any], url: str) -> dict[str, Any]:
    """The body compressed as its header says, if that says so: otherwise nobody would look at what is in it."""
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
    pack = packers.get(case.headers.get("Content-Encoding", ""))
    sent = case.as_transport_kwargs(base_url=url)
    if pack is None or not sent.keys() & {"data", "json"}:
        return {}
    body = sent["data"] if "data" in sent else json.dumps(sent["json"])
    return {"data": pack(body.encode() if isinstance(body, str) else body)}


def test_the_document_is_the_servers(server: PushServer) -> None:
    """The document that these tests are made from is the one that the server gives."""
    assert DOCUMENT == server.client.get("/openapi.json").json()


@schema.exclude(path=STREAM).parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_every_operation_keeps_to_the_document(case: Case[Any], server: PushServer) -> None:
    """Examples, edge cases and made-up requests, good and bad, get answers that the document describes."""
    check(
        case,
        case.call(
            base_url=server.base_url, headers=shown(server, case.operation.label), **packed(case, server.base_url)
        ),
    )


@schema.include(path=STREAM).parametrize()
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_stream_keeps_to_the_document(case: Case[Any], server: PushServer) -> None:
    """The same for the stream of orders, of which only the beginning is read."""
    case.operation.schema.config.update(request_retries=5)  # a slow machine may need longer for the head
    check(case, case.call(base_url=server.base_url, headers=shown(server), timeout=STREAM_READ_S))


@pytest.mark.parametrize(("length", "statuses"), [(22, {200}), (64, {200, 431})])
def test_the_stream_takes_as_many_devices_as_the_document_says(
    length: int, statuses: set[int], server: PushServer
) -> None:
    """The most devices fit into a request with ids like real ones; where they do not, the answer is documented."""
    operation = DOCUMENT["paths"][STREAM]["get"]
    [device_id] = [one for one in operation["parameters"] if one["name"] == "device_id"]
    most = device_id["schema"]["anyOf"][0]["maxItems"]
    names = [f"{number:0{length}}" for number in range(most)]
    with server.client.stream("GET", STREAM, params={"device_id": names}) as answer:
        assert answer.status_code in statuses
        assert str(answer.status_code) in operation["responses"]


def test_answers_lead_on(server: PushServer) -> None:
    """What one answer names can be asked for next: orders by their Location, devices by their id, problems by type."""
    document = json.loads(json.dumps(DOCUMENT))
    # OpenAPI's own links cannot cut the id out of a header.
    document["paths"]["/send"]["post"]["responses"]["200"]["links"] = {
        "order": {
            "operationId": document["paths"]["/commands/{command_id}"]["get"]["operationId"],
            "parameters": {"command_id": "$response.header.Location#regex:/commands/(.+)"},
        }
    }
    linked = schemathesis.openapi.from_dict(document).exclude(path=[STREAM, PUSH_PATH])
    linked.config.update(base_url=server.base_url, headers=shown(server))
    machine: Any = linked.as_state_machine()
    seen: Counter[tuple[str, int]] = Counter()

    class Walk(machine):  # type: ignore[misc]
        def validate_response(self, response: Response, case: Case[Any], **_: Any) -> None:
            seen[case.operation.label, response.status_code] += 1
            check(case, response)

    Walk.run(settings=settings(max_examples=40, stateful_step_count=6, deadline=None, derandomize=True))

    assert seen["GET /commands/{command_id}", 200]
    assert seen["GET /devices/{device_id}", 200]
