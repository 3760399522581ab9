"""From an error to its answer: a problem document of RFC 9457, as ``problem_table`` has it.

No answer repeats what was sent.
"""

import random
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.responses import Response

from heatfleet import errors
from heatfleet.api.problem_table import PROBLEMS, TABLE
from heatfleet.errors import BadMessage, BadQuery, HeatfleetError, NotAllowed, Refused

MEDIA_TYPE = "application/problem+json"
SCHEMA_REF = "#/components/schemas/ProblemDocument"

log = structlog.get_logger(__name__)


class BadRequest(HeatfleetError):
    """A request that HTTP itself forbids here; ``slug`` names the problem, ``headers`` go with the answer."""

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.headers = headers


def slug_of(error: HeatfleetError) -> str:
    """The problem that the error becomes; ``internal`` for one that must not reach a caller."""
    if isinstance(error, BadMessage | NotAllowed):
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
        case BadRequest() | NotAllowed():
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
