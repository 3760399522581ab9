"""How the server is: alive, ready, and in numbers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from heatfleet.api.gate import opens_to
from heatfleet.api.schemas import Liveness, Readiness
from heatfleet.errors import Refused
from heatfleet.wiring import Services

router = APIRouter(tags=["health"], route_class=opens_to(None))
_probes = ThreadPoolExecutor(2, thread_name_prefix="heatfleet-probe")
"""Threads of their own: all those of other requests may wait for a store that does not answer."""
metrics_router = APIRouter(tags=["health"], route_class=opens_to("metrics"))


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Is the process alive?")
async def livez() -> Liveness:
    """Answers as long as the process does; restart it when this fails."""
    return Liveness(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Will requests be served?",
    responses={503: {"model": Readiness, "description": "Not now; the reasons say why"}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Ready when the store answers and the writer takes readings and wrote the last ones; otherwise 503, and why.

    That the bus did not take the last orders is told among the reasons, and readings are taken all the same: 503 would
    send them elsewhere, and the bus would be away there too.
    """
    services: Services = request.state.services
    refusals = [services.ingest.refusal() or services.ingest.trouble, services.access.trouble]
    try:
        await asyncio.get_running_loop().run_in_executor(_probes, services.store.check)
    except Refused as error:
        refusals.append(error)
    reasons = []
    for refusal in filter(None, refusals):
        reasons.append(str(refusal))
        response.headers["Retry-After"] = str(refusal.retry_after_s)
        response.status_code = 503
    status: Literal["ready", "unavailable"] = "unavailable" if reasons else "ready"
    if services.bus.trouble is not None:
        reasons.append(str(services.bus.trouble))
    return Readiness(status=status, reasons=reasons)


@metrics_router.get(
    "/metrics",
    summary="Everything measured, for Prometheus",
    response_class=PlainTextResponse,
)
def metrics(request: Request) -> Response:
    """The metrics in Prometheus' text format, counted since the process started."""
    services: Services = request.state.services
    try:
        lag_s = services.store.status(services.clock()).lag_ms / 1000
    except Refused:
        lag_s = float("nan")
    services.metrics.rollup_lag_seconds.set(lag_s)
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
