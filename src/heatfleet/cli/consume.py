"""``heatfleet consume``: readings from a subscription of Pub/Sub into the store."""

from pathlib import Path
from typing import Annotated

import typer


def consume(
    *,
    subscription: Annotated[
        str, typer.Option(help="projects/PROJECT/subscriptions/NAME, or NAME in the project of HEATFLEET_BUS.")
    ],
    refused_to: Annotated[
        Path | None, typer.Option(help="File that keeps messages which can never be taken; then they are acknowledged.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="URL of the store; HEATFLEET_STORE otherwise.")] = None,
    emulator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Pub/Sub server on this machine, instead of Google's.")
    ] = None,
) -> None:
    """Pull readings from Pub/Sub into the store until Ctrl-C; each message is acknowledged once it is durable.

    Examples:
    $ heatfleet consume --subscription projects/my-project/subscriptions/readings
    $ heatfleet consume --subscription readings --refused-to refused.ndjson

    With BigQuery any number may run beside servers; a SQLite store has one writer, so no server may have it meanwhile.
    """
    from heatfleet.config import load_settings
    from heatfleet.consumer import run
    from heatfleet.logs import configure_logging

    settings = load_settings(store=store)
    configure_logging(settings)
    run(settings, subscription, emulator=emulator, refused_to=refused_to)
