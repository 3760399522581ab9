"""``heatfleet send``: switch one heater."""

from enum import StrEnum
from typing import Annotated

import typer

from heatfleet.cli.connect import Url, url_of
from heatfleet.cli.terminal import print_json


class Switch(StrEnum):
    """What a heater can be told."""

    ON = "on"
    OFF = "off"


def send(
    device_id: Annotated[str, typer.Argument(help="The heater's devId.")],
    switch: Annotated[Switch, typer.Argument(help="What it shall do.")],
    *,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            help="1 to 255 visible ASCII characters, no spaces; the same key within 24 h sends nothing twice."
        ),
    ] = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="The order as one JSON object.")] = False,
) -> None:
    """Switch one heater on or off, and tell what became of the order.

    Examples:
    $ heatfleet send bfadafebb608a154206aqu off
    $ heatfleet send bfadafebb608a154206aqu on --idempotency-key evening-7 --json
    """
    from heatfleet.client import Client

    settings, address = url_of(url)
    with Client(address, api_key=settings.api_key) as client:
        location = client.send(device_id, switch=switch is Switch.ON, idempotency_key=idempotency_key)
        order = client.command(location)
    if as_json:
        print_json({"location": location, **order})
    else:
        print(f"{device_id} {switch}: {order['state']} ({location})")
