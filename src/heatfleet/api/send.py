"""``POST /send`` switches heaters; ``GET /commands/...`` tells what became of it, and lets devices listen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, cast

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.body import JSON_TYPE
from heatfleet.api.callers import actor_of, caller_of, expect_own, expect_own_product, judge_orders
from heatfleet.api.gate import opens_to
from heatfleet.api.handlers import once_only
from heatfleet.api.orders import BODY, Orders, read_orders
from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import answer, problem_responses
from heatfleet.api.schemas import LastOrder, ManySent, Rejected, Sent, SentCommand
from heatfleet.commands import UNKNOWN_ORDER, Listener, Outcome
from heatfleet.domain.commands import Audience
from heatfleet.domain.messages import ID_PATTERN
from heatfleet.errors import BadQuery, BusUnavailable, NotFound
from heatfleet.wiring import Services

DEVICES_MAX = 400
"""Devices that one stream may name: so many ids of usual length fit into a request's head."""

EVENT_EXAMPLE = (
    "event: command\n"
    'data: {"command_id":"0f8b6a52-6d2f-4c36-9c3c-1f3f5d7f9f10","issued_at":"2026-01-10T18:00:00.000Z",'
    '"expires_at":"2026-01-10T18:05:00.000Z","devId":"bfadafebb608a154206aqu","switch":true}\n'
    "id: 1768068000000\n\n"
)

router = APIRouter(tags=["commands"], route_class=opens_to("command"))


Id = Annotated[str, StringConstraints(strict=True, pattern=f"^{ID_PATTERN}$")]


class CommandOut(LastOrder):
    """An order as it stands now."""

    device_id: str


@router.post(
    "/send",
    summary="Switch heaters on or off",
    openapi_extra={"requestBody": BODY},
    response_class=Response,
    responses={
        200: {
            "description": "Sent: the order, or those in `commands`",
            "headers": {
                "Location": {
                    "description": "Where the state of a single order is told: /commands/{id}.",
                    "schema": {"type": "string"},
                }
            },
            "content": {
                JSON_TYPE: {
                    "schema": {"oneOf": [{"$ref": f"#/components/schemas/{it}"} for it in ("Sent", "ManySent")]}
                }
            },
        },
        **problem_responses(
            "broken-json",
            "too-large",
            "unsupported-type",
            "bad-field",
            "bad-id",
            "all-rejected",
            "bad-query",
            "not-found",
            "key-reused",
            "overloaded",
            "bus-unavailable",
            "storage-full",
            "store-unavailable",
        ),
    },
)
async def send(
    request: Request,
    orders: Annotated[Orders, Depends(read_orders)],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[\x21-\x7e]{1,255}$",
            description="Any 1 to 255 visible ASCII characters. For 24 h the same orders with the same key are not "
            "sent again, only those that failed; with other orders the key is refused.",
            examples=["evening-7"],
        ),
    ] = None,
) -> Response:
    """Answer once the bus has accepted the order; else 503, and it is not sent later.

    An order lives for HEATFLEET_COMMAND_TTL_S and is never carried out after that. The last order for a device wins.
    A device nobody has heard of may be switched too.

    Of an array each good order is sent, and each other one is named by its index; nothing is sent when none is good.
    """
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise BadQuery("Idempotency-Key", "Idempotency-Key may be given once only")
    commands = cast("Services", request.state.services).commands
    orders = await judge_orders(request, orders)
    by, wanted = actor_of(request), list(orders.wanted.values())
    if not orders.is_bulk:
        [(device_id, switch)] = wanted
        record = await commands.send(device_id, switch=switch, by=by, idempotency_key=idempotency_key)
        location = {"Location": f"/commands/{record.command.command_id}"}
        return Response(msgspec.json.encode(Sent("command sent")), headers=location, media_type=JSON_TYPE)
    if not wanted:
        return answer("all-rejected", PROBLEMS["all-rejected"].advice, rejected=orders.rejected)
    return _answer_to(orders, await commands.send_many(wanted, by=by, idempotency_key=idempotency_key))


def _answer_to(orders: Orders, outcomes: Sequence[Outcome]) -> Response:
    """What became of many orders; raises ``BusUnavailable`` if the bus took none."""
    sent, rejected = [], list(orders.rejected)
    for (index, (device_id, _)), outcome in zip(orders.wanted.items(), outcomes, strict=True):
        if isinstance(outcome, BusUnavailable):
            rejected.append(Rejected.of(index, outcome))
        else:
            sent.append(SentCommand(device_id, outcome.command.command_id))
    if not sent:
        raise next(outcome for outcome in outcomes if isinstance(outcome, BusUnavailable))
    rejected.sort(key=lambda item: item.index)
    return Response(msgspec.json.encode(ManySent("commands sent", len(sent), sent, rejected)), media_type=JSON_TYPE)


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
    """The orders asked for, until the caller hangs up, its key ends, or the server begins to stop."""
    once_only(request, "product_id")
    if bool(device_id) == bool(product_id):
        raise BadQuery("device_id", "say whose orders: one or more device_id, or one product_id")
    services: Services = request.state.services
    if product_id is not None:
        expect_own_product(request, product_id)
    await expect_own(request, device_id or ())
    audience = Audience(frozenset(device_id or ()), product_id)
    caller, access = caller_of(request), services.access
    async with services.commands.follow(audience, after=int(last_event_id or 0)) as orders:

        def look_again() -> None:
            if not access.still_knows(caller):
                orders.close()

        stopping = asyncio.create_task(services.closing.wait())
        stopping.add_done_callback(lambda _: orders.close())
        access.changed.append(look_again)
        try:
            yield orders
        finally:
            access.changed.remove(look_again)
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
        **problem_responses("bad-query", "not-found", "head-too-large", "storage-full", "store-unavailable"),
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
    if not caller_of(request).covers(record.command.device_id, record.command.product_id):
        raise NotFound(UNKNOWN_ORDER)
    return CommandOut(device_id=record.command.device_id, **LastOrder.of(record).model_dump())
