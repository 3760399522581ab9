"""``heatfleet serve``: the server."""

from typing import Annotated

import typer

from heatfleet.cli.terminal import narrate


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

    It makes the database if there is none, and runs the rollup beside itself.
    """
    from heatfleet.client import is_loopback
    from heatfleet.config import load_settings
    from heatfleet.server import run

    settings = load_settings(host=host, port=port, store=store, bus=bus)
    if not is_loopback(settings.host):
        narrate(
            f"heatfleet: warning: {settings.host} can be reached by other machines, and there are no keys yet: "
            "whoever reaches it reads and switches the fleet. Put a proxy that checks callers in front."
        )
    run(settings)
