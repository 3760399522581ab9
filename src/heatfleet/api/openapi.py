"""What the framework cannot know of the API's documentation: POST /message, and that refusals are problems."""

import json
from typing import Any

import msgspec

from heatfleet.api.batch import BATCH_MESSAGES_MAX
from heatfleet.api.body import JSON_TYPE, NDJSON_TYPES
from heatfleet.api.gate import NEEDS, REFUSALS
from heatfleet.api.message import PATH
from heatfleet.api.problems import problem_responses
from heatfleet.api.push import PUSH_TOKEN
from heatfleet.api.schemas import ManySent, Message, Order, PartlyStored, ProblemDocument, Sent, Stored
from heatfleet.domain.messages import BIZ_CODE

_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")

EXAMPLE = {
    "bizCode": BIZ_CODE,
    "bizData": {
        "devId": "bfadafebb608a154206aqu",
        "productId": "ixhko1cls7lzpwsf",
        "properties": [{"code": "instant_power", "dpId": 1, "time": 1732631573782, "value": 2500}],
    },
    "ts": 1732631573782,
}
_WARM = {
    "bizCode": BIZ_CODE,
    "bizData": {
        "devId": "bfadafebb608a154206aqu",
        "productId": "ixhko1cls7lzpwsf",
        "properties": [{"code": "temp_interior", "value": 19.5}],
    },
    "ts": 1732631633782,
}
_PROBLEMS = (
    "broken-json",
    "broken-encoding",
    "foreign-biz-code",
    "foreign-device",
    *REFUSALS,
    "method-not-allowed",
    "too-large",
    "unsupported-type",
    "unsupported-encoding",
    "bad-field",
    "bad-id",
    "bad-value",
    "bad-time",
    "too-old",
    "all-rejected",
    "internal",
    "overloaded",
    "storage-full",
    "store-unavailable",
)


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The framework's document with POST /message first, and problems instead of its own errors."""
    references, schemas = msgspec.json.schema_components(
        [Message, Stored, PartlyStored, ProblemDocument, Order, Sent, ManySent],
        ref_template="#/components/schemas/{name}",
    )
    message, stored, partly_stored, *_ = references
    document["paths"] = {"/message": {"post": _post_message(message, [stored, partly_stored])}} | document["paths"]
    own = {
        name: schema
        for name, schema in document.get("components", {}).get("schemas", {}).items()
        if name not in _FRAMEWORKS_OWN
    }
    document.setdefault("components", {})["schemas"] = own | schemas
    for path in document["paths"].values():
        for operation in path.values():
            _say_problems(operation["responses"])
    _say_scopes(document)
    return document


def _say_scopes(document: dict[str, Any]) -> None:
    """What key each operation needs, and how it is refused without."""
    document["components"]["securitySchemes"] = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `heatfleet keys create`. A server that only its own machine can reach needs none "
            "until the first key is made.",
        },
        PUSH_TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The token that a push subscription of Pub/Sub shows: HEATFLEET_PUSH_AUDIENCE, "
            "HEATFLEET_PUSH_ACCOUNT.",
        },
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            scope = operation.pop(NEEDS, "ingest" if path == PATH else None)
            operation.setdefault("security", [] if scope is None else [{"ApiKey": [scope]}])
            if scope is not None:
                for status, response in problem_responses(*REFUSALS).items():
                    operation["responses"].setdefault(str(status), response)


def _say_problems(responses: dict[str, Any]) -> None:
    """Every 422 that the framework documents by itself is one of ours."""
    for status, response in responses.items():
        if "HTTPValidationError" in json.dumps(response.get("content", {})):
            responses[status] = problem_responses("bad-query")[422]


def _post_message(message: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    batch = {"type": "array", "items": message, "maxItems": BATCH_MESSAGES_MAX}
    lines = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in (EXAMPLE, _WARM))
    return {
        "tags": ["messages"],
        "summary": "Store what devices report",
        "description": (
            "One message, a JSON array of them, or one on each line. The answer comes after the readings are on "
            "disk; sending the same again changes no number. A message is taken whole or not at all; of a batch "
            "the good messages are."
        ),
        "operationId": "post_message",
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "description": "How the body is compressed, if it is.",
                "schema": {"type": "string", "enum": ["gzip", "zstd", "identity"]},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {
                    "schema": {"oneOf": [message, batch]},
                    "examples": {
                        "one": {"summary": "One message", "value": EXAMPLE},
                        "batch": {"summary": "A batch", "value": [EXAMPLE, _WARM]},
                    },
                },
                NDJSON_TYPES[0]: {
                    "schema": {"type": "string", "description": "One message on each line."},
                    "examples": {"lines": {"summary": "A batch, one message a line", "value": lines}},
                },
            },
        },
        "responses": {
            "200": {
                "description": "On disk: all of it, or the good messages of a batch",
                "content": {JSON_TYPE: {"schema": {"oneOf": answers}, "examples": _answers()}},
            },
        }
        | {str(status): response for status, response in problem_responses(*_PROBLEMS).items()},
    }


def _answers() -> dict[str, Any]:
    rejected = {
        "index": 1,
        "type": "/problems/bad-value",
        "detail": "instant_power must be from 0 to 100000",
        "pointer": "/bizData/properties/0/value",
    }
    return {
        "ok": {"summary": "All of it", "value": {"status": "ok", "inserted": 1}},
        "partial": {
            "summary": "Part of a batch",
            "value": {"status": "partial", "inserted": 1, "rejected": [rejected]},
        },
    }
