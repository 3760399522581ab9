"""From what a route or the framework raises to its problem, in words of ours."""

import re

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import answer, answer_defect, answer_error
from heatfleet.domain.messages import ID_RULE
from heatfleet.errors import BadQuery, HeatfleetError

_MUST = {
    "product_id": ID_RULE,
    "device_id": f"{ID_RULE}, and not given too often",
    "state": "known or silent",
    "switched": "on or off",
    "limit": "from 1 to 100",
    "after": "the cursor of the page before",
    "key_id": ID_RULE,
    "/audit limit": "from 1 to 1000",
    "/audit after": "the number of an entry",
    "Idempotency-Key": "1 to 255 visible ASCII characters",
    "Last-Event-ID": "the id of an event, 1 to 18 digits",
}
"""What the declared parameters must be, on all paths or on one; the framework's words are for programmers in Python."""

_is_plain_name = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


def once_only(request: Request, *names: str) -> None:
    """Raise ``BadQuery`` for a parameter that is given twice; the framework would take the last."""
    for name in names:
        if len(request.query_params.getlist(name)) > 1:
            raise BadQuery(name, f"{name} may be given once only")


def add_handlers(app: FastAPI) -> None:
    """Turn every exception of the app's routes into its problem."""
    app.exception_handler(HeatfleetError)(_handle_ours)
    app.exception_handler(RequestValidationError)(_handle_validation)
    app.exception_handler(HTTPException)(_handle_http)


async def _handle_ours(_request: Request, error: HeatfleetError) -> Response:
    return answer_error(error)


async def _handle_http(_request: Request, error: HTTPException) -> Response:
    """What the framework refuses by itself."""
    slug = {400: "broken-json", 404: "no-such-path", 405: "method-not-allowed", 413: "too-large"}.get(
        error.status_code, "internal"
    )
    if slug == "internal":
        return answer_defect(error)
    allowed = (error.headers or {}).get("Allow")
    detail = f"the method must be {allowed.replace(', ', ' or ')}" if allowed else PROBLEMS[slug].advice
    return answer(slug, detail, error.headers)


async def _handle_validation(request: Request, error: RequestValidationError) -> Response:
    """What does not fit a declared parameter: the first thing wrong, by name and never by value."""
    first = error.errors()[0]
    _, *place = first["loc"]
    name = str(place[0])
    if name in _MUST:
        must = _MUST.get(f"{request.scope['path']} {name}", _MUST[name])
        return answer("bad-query", f"{name} must be {must}", parameter=name)
    return answer("bad-query", "there is no such parameter", parameter=_token(name))


def _token(part: object) -> str:
    """A name within a JSON pointer; one that could be anything is the caller's own and not repeated."""
    text = str(part)
    return text if _is_plain_name(text) else ""
