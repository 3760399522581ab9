"""The server a command talks to: the one of ``--url``, or the one that the settings describe."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heatfleet.config import Settings

Url = Annotated[
    str | None,
    typer.Option("--url", help="Address of the server; by default the one HEATFLEET_HOST and HEATFLEET_PORT give."),
]


def url_of(url: str | None) -> "tuple[Settings, str]":
    """The settings and the server's address. They are read even with a URL, so that a misspelt one is never silent."""
    from heatfleet.client import server_url
    from heatfleet.config import load_settings

    settings = load_settings()
    return settings, url or server_url(settings.host, settings.port)
