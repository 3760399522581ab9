"""GET /devices: what is known of each device, as of the last rollup."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.callers import UNKNOWN_DEVICE, caller_of
from heatfleet.api.gate import opens_to
from heatfleet.api.handlers import once_only
from heatfleet.api.problems import problem_responses
from heatfleet.api.schemas import Device, DeviceList, DeviceQuery, DeviceWithOrder, LastOrder
from heatfleet.domain.access import ANYTHING
from heatfleet.errors import BadQuery, NotFound
from heatfleet.storage.base import DeviceFilter
from heatfleet.wiring import Services

router = APIRouter(tags=["devices"], route_class=opens_to("report"))


@router.get(
    "/devices",
    summary="List devices",
    responses=problem_responses("bad-query", "storage-full", "store-unavailable"),
)
def list_devices(query: Annotated[DeviceQuery, Query()], request: Request, response: Response) -> DeviceList:
    """At most 100 devices a page, in the order they were first heard of; a device's place never changes."""
    once_only(request, *DeviceQuery.model_fields)
    services: Services = request.state.services
    caller = caller_of(request)
    now_ms = services.clock()
    page = services.store.devices(
        DeviceFilter(
            product_id=query.product_id,
            known=None if query.state is None else query.state == "known",
            on=None if query.switched is None else query.switched == "on",
            bounds=caller.bounds or ANYTHING,
        ),
        now_ms=now_ms,
        position=0 if query.after is None else _position(query.after),
        limit=query.limit,
    )
    following = None if page.position is None else _cursor(page.position)
    if following is not None:
        parameters = query.model_dump(exclude_none=True) | {"after": following}
        response.headers["Link"] = f'</devices?{urlencode(parameters)}>; rel="next"'
    known_after_ms = _known_after_ms(services, now_ms)
    return DeviceList(
        devices=[Device.of(device, known_after_ms=known_after_ms) for device in page.devices],
        next=following,
    )


@router.get(
    "/devices/{device_id}",
    summary="One device",
    responses=problem_responses("not-found", "storage-full", "store-unavailable"),
)
def get_device(
    device_id: Annotated[str, Path(examples=["bfadafebb608a154206aqu"])], request: Request
) -> DeviceWithOrder:
    """Product, last power and temperature with their times, known or silent now, and the last order."""
    services: Services = request.state.services
    now_ms = services.clock()
    state = services.store.device(device_id)
    if state is None or not caller_of(request).covers(device_id, state.product_id):
        raise NotFound(UNKNOWN_DEVICE)
    device = DeviceWithOrder.of(state, known_after_ms=_known_after_ms(services, now_ms))
    order = services.ledger.last_order(device_id, now_ms)
    device.last_order = None if order is None else LastOrder.of(order)
    return device


def _known_after_ms(services: Services, now_ms: int) -> int:
    return now_ms - services.settings.max_hold_s * 1000


def _cursor(position: int) -> str:
    return urlsafe_b64encode(position.to_bytes(8)).rstrip(b"=").decode()


def _position(cursor: str) -> int:
    try:
        position = int.from_bytes(urlsafe_b64decode(f"{cursor}="), signed=True)
    except ValueError:
        position = -1
    if not 0 <= position < 2**63 or _cursor(position) != cursor:
        raise BadQuery("after", "this is no cursor of ours; begin again without it")
    return position
