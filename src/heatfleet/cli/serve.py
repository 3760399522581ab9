"""``heatfleet serve``: the server."""

from typing import Annotated

import typer


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; HEATFLEET_HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; HEATFLEET_PORT otherwise.")] = None,
    store: Annotated[str | None, typer.Option(help="URL of the store; HEATFLEET_STORE otherwise.")] = None,
    bus: Annotated[str | None, typer.Option(help="URL of the bus; HEATFLEET_BUS otherwise.")] = None,
) -> None:
    """Run the server until Ctrl-C: messages in, orders out, reports.

    Examples:
    $ heatfleet serve
    $ heatfleet serve --port 9000 --store sqlite:////srv/heatfleet/fleet.db

    It makes the database if there is none, and runs the rollup beside itself. On another address than this machine's
    own it starts only once there are API keys: `heatfleet keys create`.
    """
    from heatfleet.config import load_settings
    from heatfleet.server import run

    run(load_settings(host=host, port=port, store=store, bus=bus))
