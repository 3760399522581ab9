"""``POST /send`` switches a heater; ``GET /commands/...`` tells what became of it, and lets devices listen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.decode import decode_json
from heatfleet.api.handlers import once_only
from heatfleet.api.problems import BadRequest, problem_responses
from heatfleet.api.schemas import LastOrder
from heatfleet.commands import Listener
from heatfleet.domain.commands import Audience
from heatfleet.domain.messages import ID_PATTERN, ID_RULE, is_id
from heatfleet.errors import BadMessage, BadQuery
from heatfleet.wiring import Services

DEVICES_MAX = 400
"""Devices that one stream may name: so many ids of usual length fit into a request's head."""

EVENT_EXAMPLE = (
    "event: command\n"
    'data: {"command_id":"0f8b6a52-6d2f-4c36-9c3c-1f3f5d7f9f10","issued_at":"2026-01-10T18:00:00.000Z",'
    '"expires_at":"2026-01-10T18:05:00.000Z","devId":"bfadafebb608a154206aqu","switch":true}\n'
    "id: 1768068000000\n\n"
)

router = APIRouter(tags=["commands"])

Id = Annotated[str, StringConstraints(strict=True, pattern=f"^{ID_PATTERN}$")]


class Order(BaseModel):
    """Switch one device on (``true``) or off."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"device_id": "bfadafebb608a154206aqu", "switch": True}]})

    device_id: Id
    switch: bool


class Sent(BaseModel):
    """The bus has accepted the order; the header ``Location`` says where its state is told."""

    status: Literal["command sent"] = "command sent"


class CommandOut(LastOrder):
    """An order as it stands now."""

    device_id: str


async def _order(request: Request) -> Order:
    """The order in the body, read as strictly as a message; the framework would take NaN and other encodings."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest("unsupported-type", "Set the header Content-Type: application/json.")
    order = decode_json(await request.body())
    if not isinstance(order, dict):
        raise BadMessage("bad-field", "an order must be a JSON object")
    device_id, switch = order.get("device_id"), order.get("switch")
    if not is_id(device_id):
        raise BadMessage("bad-id", f"device_id must be {ID_RULE}", "/device_id")
    if not isinstance(switch, bool):
        raise BadMessage("bad-field", "switch must be true or false", "/switch")
    return Order(device_id=device_id, switch=switch)


@router.post(
    "/send",
    summary="Switch a heater on or off",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": Order.model_json_schema()}}}
    },
    responses={
        200: {
            "headers": {
                "Location": {
                    "description": "Where the state of the order is told: /commands/{id}.",
                    "schema": {"type": "string"},
                }
            }
        },
        **problem_responses(
            "broken-json",
            "too-large",
            "unsupported-type",
            "bad-field",
            "bad-id",
            "bad-query",
            "key-reused",
            "bus-unavailable",
            "storage-full",
            "store-unavailable",
        ),
    },
)
async def send(
    request: Request,
    response: Response,
    order: Annotated[Order, Depends(_order)],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[\x21-\x7e]{1,255}$",
            description="Any 1 to 255 visible ASCII characters. For 24 h the same order with the same key is not "
            "sent again; with another order the key is refused.",
            examples=["evening-7"],
        ),
    ] = None,
) -> Sent:
    """Answer once the bus has accepted the order; else 503, and it is not sent later.

    An order lives for HEATFLEET_COMMAND_TTL_S and is never carried out after that. The last order for a device wins.
    A device nobody has heard of may be switched too.
    """
    services: Services = request.state.services
    record = await services.commands.send(order.device_id, switch=order.switch, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/commands/{record.command.command_id}"
    return Sent()


async def _orders(
    request: Request,
    device_id: Annotated[
        list[Id] | None,
        Query(max_length=DEVICES_MAX, description=f"A device to listen for; up to {DEVICES_MAX} of them."),
    ] = None,
    product_id: Annotated[Id | None, Query(description="Listen for every device of this product.")] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern="^[0-9]{1,18}$",
            description="The `id` of the last event read: what came after it follows.",
        ),
    ] = None,
) -> AsyncIterator[Listener]:
    """The orders asked for, until the caller hangs up or the server begins to stop."""
    once_only(request, "product_id")
    if bool(device_id) == bool(product_id):
        raise BadQuery("device_id", "say whose orders: one or more device_id, or one product_id")
    services: Services = request.state.services
    audience = Audience(frozenset(device_id or ()), product_id)
    async with services.commands.follow(audience, after=int(last_event_id or 0)) as orders:
        stopping = asyncio.create_task(services.closing.wait())
        stopping.add_done_callback(lambda _: orders.close())
        try:
            yield orders
        finally:
            stopping.cancel()


# Before /commands/{command_id}, which would take "stream" for an id.
@router.get(
    "/commands/stream",
    summary="Listen for orders",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events, without end.",
            "content": {"text/event-stream": {"examples": {"order": {"value": EVENT_EXAMPLE}}}},
        },
        **problem_responses("bad-query", "head-too-large", "storage-full", "store-unavailable"),
    },
)
async def stream(orders: Annotated[Listener, Depends(_orders)]) -> AsyncIterator[ServerSentEvent]:
    """Orders as server-sent events: first the newest unexpired one of each device, then each as it is published.

    A caller that comes back with the header `Last-Event-ID`, as every EventSource does, misses none and reads none
    twice. One that reads too slowly is hung up on, and comes back. A comment every 15 s keeps the connection alive.
    The stream does not end, so "Try it out" cannot show it: use `curl -N`.
    """
    async for record in orders:
        data = {**record.command.attributes(), **record.command.message()}
        yield ServerSentEvent(id=str(record.sequence), event="command", data=data)


@router.get(
    "/commands/{command_id}",
    summary="What became of an order",
    responses=problem_responses("not-found", "storage-full", "store-unavailable"),
)
async def command(
    request: Request,
    command_id: Annotated[str, Path(description="As in the `Location` of the answer to POST /send.")],
) -> CommandOut:
    """The state and times of one order."""
    services: Services = request.state.services
    record = await services.commands.command(command_id)
    return CommandOut(device_id=record.command.device_id, **LastOrder.of(record).model_dump())
