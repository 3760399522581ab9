"""Who sent a request that the gate let in, and what it may touch: for routes to ask."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from heatfleet.access import Caller
from heatfleet.api.orders import Orders
from heatfleet.api.problems import slug_of
from heatfleet.api.schemas import Rejected
from heatfleet.commands import told
from heatfleet.domain.access import Actor
from heatfleet.errors import HeatfleetError, NotAllowed, NotFound
from heatfleet.reports import Question
from heatfleet.wiring import Services

UNKNOWN_DEVICE = "this device has not been heard of, or not before the last rollup"


def caller_of(request: Request) -> Caller:
    """Who is calling."""
    caller: Caller = request.state.caller
    return caller


def actor_of(request: Request) -> Actor:
    """Who is calling, and from where, as the audit trail has it."""
    return caller_of(request).actor(request.client.host if request.client else "")


async def expect_own(request: Request, device_ids: Sequence[str]) -> None:
    """Raise ``NotFound`` if one of the devices is not the caller's: as if nobody had heard of it."""
    if caller_of(request).bounds is None:
        return
    foreign = await asyncio.to_thread(_foreign, request, device_ids)
    if foreign:
        raise NotFound(UNKNOWN_DEVICE)


async def judge_orders(request: Request, orders: Orders) -> Orders:
    """The orders that the caller may give; of many, those to devices of others are among the rejected.

    Raises ``NotFound`` for one to a device of others, ``NotAllowed`` for many without the scope, and ``TooMany`` for a
    caller who has given too many before. Refused orders are in the audit trail, too.
    """
    caller = caller_of(request)
    try:
        _services(request).access.expect_still(caller)
        caller.expect("command:bulk" if orders.is_bulk else "command")
        device_ids = [device_id for device_id, _ in orders.wanted.values()]
        foreign = await asyncio.to_thread(_foreign, request, device_ids) if caller.bounds is not None else set()
        if foreign and not orders.is_bulk:
            raise NotFound(UNKNOWN_DEVICE)
        caller.take_orders(len(orders.wanted))
    except HeatfleetError as error:
        _note(request, [*orders.wanted.values()], error)
        raise
    if not foreign:
        return orders
    unknown = NotFound(UNKNOWN_DEVICE)
    own = {index: order for index, order in orders.wanted.items() if order[0] not in foreign}
    _note(request, [order for order in orders.wanted.values() if order[0] in foreign], unknown)
    rejected = [Rejected.of(index, unknown) for index in orders.wanted.keys() - own.keys()]
    return Orders(own, sorted((*orders.rejected, *rejected), key=lambda one: one.index), is_bulk=True)


def _note(request: Request, orders: Sequence[tuple[str, bool]], error: HeatfleetError) -> None:
    """One line for each refused request, as there may be many of a thousand orders."""
    if orders:
        commands = _services(request).commands
        commands.note_refused(*told(orders), by=actor_of(request), slug=slug_of(error))


def _foreign(request: Request, device_ids: Sequence[str]) -> set[str]:
    """Those of the devices that are not the caller's; the store is asked for their products where these matter."""
    bounds = caller_of(request).bounds
    if bounds is None:
        return set()
    products = _services(request).store.products(device_ids) if bounds.product_prefix else {}
    return {device_id for device_id in device_ids if not bounds.covers(device_id, products.get(device_id))}


def expect_own_figures(request: Request, question: Question) -> None:
    """Raise unless the caller may see these figures: ``NotAllowed`` for those of the whole fleet, else ``NotFound``."""
    if question.device_id is None:
        expect_own_product(request, question.product_id)
    elif _foreign(request, [question.device_id]):
        raise NotFound(UNKNOWN_DEVICE)


def expect_own_product(request: Request, product_id: str | None) -> None:
    """Raise unless the caller may know of all devices of a product; ``None`` is any product."""
    bounds = caller_of(request).bounds
    if bounds is None:
        return
    if bounds.device_prefix or product_id is None:
        raise NotAllowed("bound-key", "this key is for some devices only: name one with device_id")
    if not product_id.startswith(bounds.product_prefix):
        raise NotFound("this product has not been heard of, or not before the last rollup")


def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services
