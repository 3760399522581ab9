"""Every refusal of the API in one table: the error, its status, its name, and what to do about it.

An answer is a problem document of RFC 9457; its ``type`` is ``/problems/<slug>``, which this server itself
explains. No answer repeats what was sent.
"""

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.responses import Response

from heatfleet import errors
from heatfleet.errors import BadMessage, BadQuery, HeatfleetError, Refused

MEDIA_TYPE = "application/problem+json"
SCHEMA_REF = "#/components/schemas/ProblemDocument"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal. ``error`` is the exception that becomes it; ``BadMessage`` names its slug itself."""

    slug: str
    status: int
    title: str
    advice: str
    retryable: bool = False
    error: type[HeatfleetError] | None = None

    @property
    def type(self) -> str:
        """The URI reference that names the problem and leads to its explanation."""
        return f"/problems/{self.slug}"


TABLE = (
    Problem(
        "broken-json",
        400,
        "Not JSON",
        "Send JSON as RFC 8259 has it, in UTF-8: no NaN, no comments, nothing after the end, at most "
        "64 objects and arrays within each other.",
    ),
    Problem(
        "broken-encoding",
        400,
        "The compressed body cannot be read",
        "Compress the body as Content-Encoding says, and send it to its end.",
    ),
    Problem(
        "foreign-biz-code",
        400,
        "Another kind of message",
        'Only messages with bizCode "devicePropertyMessage" are taken; do not forward the others.',
    ),
    Problem("bad-field", 422, "A field is missing or has the wrong type", "Mend the field at `pointer`."),
    Problem("bad-id", 422, "Not an id", "Ids of devices and products are 1 to 64 characters of A-Z a-z 0-9 . _ : -"),
    Problem(
        "bad-value",
        422,
        "A value is no number, or out of range",
        "instant_power is a number from 0 to 100000 (W), temp_interior one from -60 to 100 (°C).",
    ),
    Problem(
        "bad-time",
        422,
        "A time is missing or out of range",
        "Times are whole milliseconds since 1970, from 2000-01-01 to 300 s after the server's clock.",
    ),
    Problem(
        "too-old",
        422,
        "A reading is older than what is kept",
        "Readings are kept for HEATFLEET_RETENTION_DAYS; an older one can no longer be counted. Do not send it again.",
    ),
    Problem(
        "all-rejected",
        422,
        "No message of the batch can be taken",
        "Nothing was stored. `rejected` names what is wrong with each message, by its index in the batch.",
    ),
    Problem(
        "too-large",
        413,
        "Too large",
        "One message may have 256 KiB, a batch 8 MiB and 10000 messages, unpacked; other bodies 64 KiB. "
        "Send it in parts.",
    ),
    Problem(
        "unsupported-type",
        415,
        "Content-Type not taken",
        "Set the header Content-Type: application/json, or application/x-ndjson for one message per line "
        "(curl: -H 'Content-Type: application/json').",
    ),
    Problem(
        "unsupported-encoding",
        415,
        "Content-Encoding not taken",
        "Send the body as it is, or with Content-Encoding: gzip or zstd.",
    ),
    Problem(
        "bad-query",
        422,
        "A parameter has no meaning here",
        "Mend the parameter that `parameter` names, or leave it out.",
        error=BadQuery,
    ),
    Problem(
        "not-found",
        404,
        "Never heard of",
        "Nothing is known by this id. A device is known one rollup after its first message.",
        error=errors.NotFound,
    ),
    Problem(
        "malformed-request",
        400,
        "Not HTTP",
        "Send HTTP/1.1 as RFC 9112 has it: one length for a body, fields without line breaks. "
        "HTTPS and HTTP/2 need a proxy in front.",
    ),
    Problem(
        "bad-host",
        400,
        "No host, or more than one",
        "Send the header Host once, with a host name or address and a port.",
    ),
    Problem(
        "head-too-large", 431, "Head too large", "The request line and all headers may have 16 KiB and 100 fields."
    ),
    Problem(
        "too-slow",
        408,
        "Too slow",
        "Nothing was stored. A head must arrive within 10 s, a body within 30 s and another second for each 16 KiB.",
    ),
    Problem("no-such-path", 404, "No such path", "See /docs for the paths there are."),
    Problem("method-not-allowed", 405, "Method not allowed", "The header Allow names the ones there are."),
    Problem(
        "key-reused",
        422,
        "The Idempotency-Key belongs to another request",
        "Nothing was sent. Use a new key for a new order.",
        error=errors.KeyReused,
    ),
    Problem(
        "overloaded",
        503,
        "Too much at once",
        "Nothing was stored. Send the same again after Retry-After seconds.",
        retryable=True,
        error=errors.Overloaded,
    ),
    Problem(  # before the error that it is a kind of
        "storage-full",
        503,
        "The disk is full",
        "Nothing was stored. The operator has to make room; send the same again after Retry-After seconds.",
        retryable=True,
        error=errors.StorageFull,
    ),
    Problem(
        "store-unavailable",
        503,
        "The store does not answer",
        "Nothing was stored. Send the same again after Retry-After seconds, which does no harm to an order that the "
        "bus had already; the log and /readyz tell why.",
        retryable=True,
        error=errors.StoreUnavailable,
    ),
    Problem(
        "report-too-slow",
        503,
        "The report took too long",
        "A report may take HEATFLEET_REPORT_TIMEOUT_S, waiting for its turn included. Ask for a shorter range or for "
        "whole days, or again after Retry-After seconds.",
        retryable=True,
        error=errors.ReportTooSlow,
    ),
    Problem(
        "bus-unavailable",
        503,
        "The bus did not take the order",
        "The order counts as failed. A bus that answered too late may still deliver it; sending it again after "
        "Retry-After seconds does no harm.",
        retryable=True,
        error=errors.BusUnavailable,
    ),
    Problem(
        "internal",
        500,
        "A defect of the server",
        "Please report it with the `request_id`, under which the log has the details.",
    ),
)
PROBLEMS = {problem.slug: problem for problem in TABLE}


class BadRequest(HeatfleetError):
    """A request that HTTP itself forbids here; ``slug`` names the problem, ``headers`` go with the answer."""

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.headers = headers


def slug_of(error: HeatfleetError) -> str:
    """The problem that the error becomes; ``internal`` for one that must not reach a caller."""
    if isinstance(error, BadMessage):
        return error.kind
    if isinstance(error, BadRequest):
        return error.slug
    return next((row.slug for row in TABLE if row.error and isinstance(error, row.error)), "internal")


def spread_s(seconds: int) -> int:
    """From so many seconds to twice as many and one, by chance: who is refused together shall not return together."""
    return random.randint(seconds, 2 * seconds + 1)  # noqa: S311 - nothing is to be kept secret


def answer(slug: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> Response:
    """The problem as an HTTP answer; ``members`` are its extra fields."""
    row = PROBLEMS[slug]
    body = {"type": row.type, "title": row.title, "status": row.status, "detail": detail, **members}
    return Response(msgspec.json.encode(body), row.status, headers, MEDIA_TYPE)


def answer_error(error: HeatfleetError, retry_after_s: int | None = None) -> Response:
    """The answer to an error raised on purpose; where it may be tried again, after so long, or by ``spread_s``."""
    slug = slug_of(error)
    match error:
        case BadMessage():
            return answer(slug, error.detail, pointer=error.pointer)
        case BadQuery():
            return answer(slug, error.detail, parameter=error.parameter)
        case Refused():
            # What a store says of itself names files of this machine; that is for the log and /readyz.
            detail = PROBLEMS[slug].advice if isinstance(error, errors.StoreUnavailable) else str(error)
            return answer(slug, detail, {"Retry-After": str(retry_after_s or spread_s(error.retry_after_s))})
        case BadRequest():
            return answer(slug, str(error), error.headers)
        case _ if slug == "internal":
            return answer_defect(error)
        case _:
            return answer(slug, str(error))


def answer_defect(error: Exception) -> Response:
    """The answer to an error nobody planned for: logged here, once, under an id; the caller gets the id."""
    request_id = secrets.token_hex(8)
    log.error("request failed", request_id=request_id, exc_info=error)
    return answer("internal", "The server failed at this; the log has the details.", request_id=request_id)


def problem_responses(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """These problems as OpenAPI has them, by status: what a route gives as its ``responses``."""
    responses: dict[int | str, dict[str, Any]] = {}
    for row in (PROBLEMS[slug] for slug in slugs):
        example = {"type": row.type, "title": row.title, "status": row.status, "detail": row.advice}
        response = responses.setdefault(
            row.status,
            {
                "description": HTTPStatus(row.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA_REF}, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][row.slug] = {"summary": row.title, "value": example}
        if row.retryable:
            response["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            }
    return responses
