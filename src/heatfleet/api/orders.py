"""What the body of POST /send orders: an object is one order, an array is many."""

from typing import NamedTuple

from starlette.requests import Request

from heatfleet.api.body import JSON_TYPE
from heatfleet.api.decode import decode_json
from heatfleet.api.problems import BadRequest
from heatfleet.api.schemas import Rejected
from heatfleet.domain.messages import ID_RULE, is_id
from heatfleet.errors import BadMessage

ORDERS_MAX = 1_000

_ONE = {"$ref": "#/components/schemas/Order"}
_EXAMPLES = ({"device_id": "bfadafebb608a154206aqu", "switch": True}, {"device_id": "bedroom-1", "switch": False})
BODY = {
    "required": True,
    "content": {
        JSON_TYPE: {
            "schema": {"oneOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1, "maxItems": ORDERS_MAX}]},
            "examples": {
                "one": {"summary": "One order", "value": _EXAMPLES[0]},
                "many": {"summary": "Many orders", "value": list(_EXAMPLES)},
            },
        }
    },
}
"""The body as the API's documentation has it."""


class Orders(NamedTuple):
    """The good orders of a request, as device and switch, by their places in it; and what is wrong with the others.

    ``is_bulk`` says that the request was an array, of whatever length.
    """

    wanted: dict[int, tuple[str, bool]]
    rejected: list[Rejected]
    is_bulk: bool


async def read_orders(request: Request) -> Orders:
    """The orders in the body, read as strictly as a message; the framework would take NaN and other encodings.

    Raises ``BadRequest``, and ``BadMessage`` for what is no order at all, for too many, or for a single bad one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise BadRequest("unsupported-type", "Set the header Content-Type: application/json.")
    body = decode_json(await request.body())
    if not isinstance(body, list):
        return Orders({0: _order(body)}, [], is_bulk=False)
    if not body:
        raise BadMessage("bad-field", "an array of orders must not be empty")
    if len(body) > ORDERS_MAX:
        raise BadMessage("too-large", f"a request may have {ORDERS_MAX} orders")
    orders = Orders({}, [], is_bulk=True)
    for index, item in enumerate(body):
        try:
            orders.wanted[index] = _order(item)
        except BadMessage as error:
            orders.rejected.append(Rejected.of(index, error))
    return orders


def _order(order: object) -> tuple[str, bool]:
    if not isinstance(order, dict):
        raise BadMessage("bad-field", "an order must be a JSON object")
    device_id, switch = order.get("device_id"), order.get("switch")
    if not is_id(device_id):
        raise BadMessage("bad-id", f"device_id must be {ID_RULE}", "/device_id")
    if not isinstance(switch, bool):
        raise BadMessage("bad-field", "switch must be true or false", "/switch")
    return device_id, switch
