"""``heatfleet send``: switch heaters."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from heatfleet.cli.connect import Url, url_of
from heatfleet.cli.exits import ExitCode
from heatfleet.cli.terminal import print_json

if TYPE_CHECKING:
    from heatfleet.client import Client


class Switch(StrEnum):
    """What a heater can be told."""

    ON = "on"
    OFF = "off"


def send(
    device_ids: Annotated[list[str] | None, typer.Argument(metavar="DEVICE_ID", help="The heaters' devIds.")] = None,
    switch: Annotated[Switch | None, typer.Argument(metavar="on|off", help="What they shall do.")] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Orders from a file, or - for stdin: a devId on each line, or devId,on."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            help="1 to 255 visible ASCII characters, no spaces; the same key within 24 h sends nothing twice."
        ),
    ] = None,
    url: Url = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The order, or what became of many, as one JSON object.")
    ] = False,
) -> None:
    """Switch heaters on or off, and tell what became of the orders.

    Examples:
    $ heatfleet send bfadafebb608a154206aqu off
    $ heatfleet send --file heaters.txt on --idempotency-key evening-7
    """
    from heatfleet.client import Client

    if bool(device_ids) == (file is not None):
        raise typer.BadParameter("name one heater or more, and on or off; or give --file")
    if device_ids and switch is None:
        raise typer.BadParameter("SWITCH: write on or off after the heaters")

    names, on = device_ids or [], None if switch is None else switch is Switch.ON
    settings, address = url_of(url)
    with Client(address, api_key=settings.api_key) as client:
        if len(names) == 1 and on is not None:
            _send_one(client, names[0], on=on, idempotency_key=idempotency_key, as_json=as_json)
        else:
            _send_many(client, names, file, on=on, idempotency_key=idempotency_key, as_json=as_json)


def _send_one(client: "Client", device_id: str, *, on: bool, idempotency_key: str | None, as_json: bool) -> None:
    location = client.send(device_id, switch=on, idempotency_key=idempotency_key)
    order = client.command(location)
    if as_json:
        print_json({"location": location, **order})
    else:
        print(f"{device_id} {'on' if on else 'off'}: {order['state']} ({location})")


def _send_many(
    client: "Client",
    names: list[str],
    file: str | None,
    *,
    on: bool | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    from heatfleet.cli.many_orders import Order, read_orders, send_all, tell

    if file is None:
        orders = [Order(name, on is True, f"argument {number}") for number, name in enumerate(names, start=1)]
    else:
        orders = read_orders(file, switch=on)
    summary = send_all(client, orders, idempotency_key)
    tell(summary, as_json=as_json)
    if summary.code is not ExitCode.OK:
        raise typer.Exit(summary.code)
