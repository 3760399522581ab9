"""``GET /report``: energy or temperature by local day and hour, as JSON or CSV.

Any figure may still change, since late readings are welcome: caches may keep an answer but ask every time
(``Cache-Control: private, no-cache``), and the strong ``ETag`` spares them the body when nothing changed.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.callers import caller_of, expect_own_figures
from heatfleet.api.gate import opens_to
from heatfleet.api.problems import problem_responses
from heatfleet.api.report_body import CSV_COLUMNS, DetailedCell, csv_body, etag, json_body
from heatfleet.api.report_query import PARAMETERS, Format, Metric, read_query
from heatfleet.api.turns import Turns
from heatfleet.reports import answer
from heatfleet.storage.base import Patience
from heatfleet.wiring import Services

router = APIRouter(tags=["report"], route_class=opens_to("report"))

PATH = "/report"
"""And what begins so: reports by other names."""

_CSV = "text/csv"
_JSON = "application/json"
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)")

_DETAILED = DetailedCell(energy_wh=1129, temperature_c=19.5, known_s=1626.218, coverage=0.4517, devices=1, final=True)
_JSON_EXAMPLES = {
    "hours": {"summary": "By day and hour", "value": {"2024-11-26": {"15:00": 1129, "16:00": 1371}}},
    "days": {"summary": "interval=day", "value": {"2024-11-26": 2500}},
    "detail": {
        "summary": "detail=true",
        "value": {"2024-11-26": {"15:00": msgspec.to_builtins(_DETAILED)}},
    },
}
_CSV_EXAMPLE = "\r\n".join(
    (
        ",".join(CSV_COLUMNS),
        "2024-11-26T14:00:00Z,2024-11-26T15:00:00,+01:00,3600,1129,19.5,1626.218,0.4517,1,true",
        "",
    )
)


def _documented(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """What the API's documentation says of a report."""
    cell = msgspec.json.schema_components([DetailedCell])[1]["DetailedCell"]
    figure = [{"type": "number"}, cell]
    by_time = {"type": "object", "additionalProperties": {"anyOf": figure}}
    by_day = {"type": "object", "additionalProperties": {"anyOf": [*figure, by_time]}}
    headers = {"ETag": {"description": "Changes with the figures.", "schema": {"type": "string"}}}
    return {
        "responses": {
            200: {
                "description": "The figures",
                "headers": headers,
                "content": {
                    _JSON: {"schema": by_day, "examples": _JSON_EXAMPLES},
                    _CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
                },
            },
            304: {"description": "The caller has these figures already", "headers": headers},
            **problem_responses(
                "bad-query", "not-found", "overloaded", "report-too-slow", "storage-full", "store-unavailable"
            ),
        },
        "response_class": Response,
        "openapi_extra": {"parameters": parameters},
    }


_ALIAS = _documented([parameter for parameter in PARAMETERS if parameter["name"] != "metric"])


@router.get("/report", summary="Energy or temperature by day and hour", **_documented(PARAMETERS))
async def report(request: Request) -> Response:
    """Figures of the fleet, of a product or of one device, by local day and hour.

    Energy is in whole Wh. An hour in which nothing is known is absent; a known zero is 0. The hour that now lies
    in counts up to the last rollup. In an hour that the clock shows twice both keys carry their offset, such as
    `"02:00+02:00"` and `"02:00+01:00"`. CSV has a line for every cell, with instants and all that `detail` gives.
    Any figure may still change when late readings come: ask again with `If-None-Match`.
    """
    return await _respond(request, None)


@router.get("/report/power", summary="Energy: /report with metric=energy", **_ALIAS)
async def report_power(request: Request) -> Response:
    """Just `/report` with `metric=energy`."""
    return await _respond(request, "energy")


@router.get("/report/temperature", summary="Temperature: /report with metric=temperature", **_ALIAS)
async def report_temperature(request: Request) -> Response:
    """Just `/report` with `metric=temperature`."""
    return await _respond(request, "temperature")


async def _respond(request: Request, metric: Metric | None) -> Response:
    turns: Turns = request.state.turns
    return await turns.take(partial(_answer, request, metric), partial(_gone, request), caller_of(request).who)


async def _gone(request: Request) -> None:
    """Ends when the caller hangs up; a body is thrown away, and one that is too large refused as on any route."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer(request: Request, metric: Metric | None, patience: Patience) -> Response:
    services: Services = request.state.services
    query = read_query(request.query_params.multi_items(), tz=services.settings.tz, metric=metric)
    expect_own_figures(request, query.question)
    form = query.format or _preferred(request.headers.getlist("accept"))
    interval = query.question.interval
    cells = answer(services.store, query.question, patience)
    patience.check()
    headers = {
        "ETag": etag(cells, form, interval, query.metric, query.detail),
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
    }
    if _is_known(request.headers.getlist("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if form == "csv":
        headers["Content-Disposition"] = f'attachment; filename="heatfleet-report-{interval}.csv"'
        return Response(csv_body(cells), headers=headers, media_type=_CSV)
    body = json_body(cells, interval, query.metric, detail=query.detail)
    return Response(body, headers=headers, media_type=_JSON)


def _preferred(accept: Iterable[str]) -> Format:
    """CSV where the caller likes it better than JSON; JSON otherwise."""
    quality: dict[str, float] = {}
    for media in ",".join(accept).lower().split(","):
        given = _QUALITY.search(media)
        quality[media.partition(";")[0].strip()] = float(given[1]) if given else 1.0
    anything = quality.get("*/*", 0.0)
    csv = quality.get(_CSV, quality.get("text/*", anything))
    return "csv" if csv > quality.get(_JSON, quality.get("application/*", anything)) else "json"


def _is_known(if_none_match: Iterable[str], tag: str) -> bool:
    """Whether the caller holds this answer already; validators compare weakly, as RFC 9110 has it."""
    held = {part.strip().removeprefix("W/") for part in ",".join(if_none_match).split(",")}
    return bool(held & {tag, "*"})
