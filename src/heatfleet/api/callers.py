"""Who sent a request that the gate let in, and what it may touch: for routes to ask."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from heatfleet.access import Caller
from heatfleet.api.problems import slug_of
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
    caller, services = caller_of(request), _services(request)
    if caller.bounds is None:
        return
    products = await asyncio.to_thread(services.store.products, device_ids) if caller.bounds.product_prefix else {}
    if not all(caller.covers(device_id, products.get(device_id)) for device_id in device_ids):
        raise NotFound(UNKNOWN_DEVICE)


async def expect_orders(request: Request, orders: Sequence[tuple[str, bool]]) -> None:
    """Raise unless the caller may switch all of these devices, and has not given too many orders before.

    ``NotFound`` for a device of others, ``NotAllowed`` for many at once without the scope, ``TooMany``; refused orders
    are in the audit trail, too.
    """
    caller, services = caller_of(request), _services(request)
    try:
        caller.expect("command" if len(orders) == 1 else "command:bulk")
        await expect_own(request, [device_id for device_id, _ in orders])
        caller.take_orders(len(orders))
    except HeatfleetError as error:
        for device_id, switch in orders:
            services.commands.note_refused(device_id, switch=switch, by=actor_of(request), slug=slug_of(error))
        raise


def expect_own_figures(request: Request, question: Question) -> None:
    """Raise unless the caller may see these figures: ``NotAllowed`` for those of the whole fleet, else ``NotFound``."""
    bounds, services = caller_of(request).bounds, _services(request)
    if bounds is None:
        return
    if question.device_id is not None:
        products = services.store.products([question.device_id]) if bounds.product_prefix else {}
        if not bounds.covers(question.device_id, products.get(question.device_id)):
            raise NotFound(UNKNOWN_DEVICE)
    else:
        expect_own_product(request, question.product_id)


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
