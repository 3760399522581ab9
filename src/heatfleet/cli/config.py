"""``heatfleet config``: each setting, its value and where it came from."""

from typing import Annotated

import typer

from heatfleet.cli.terminal import print_json, screen


def config(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
) -> None:
    """Show each setting, its value and where it came from.

    Examples:
    $ heatfleet config
    $ HEATFLEET_PORT=9000 heatfleet config --json

    Settings are HEATFLEET_* variables, read from the environment, then from .env in this folder.
    """
    from rich.table import Table

    from heatfleet.config import load_settings, where_from

    origins = where_from(load_settings())
    if as_json:
        print_json([origin._asdict() for origin in origins])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("variable", "value", "from"):
        table.add_column(heading, overflow="fold")
    for origin in origins:
        style = "dim" if origin.source == "default" else "bold"
        value = origin.value if isinstance(origin.value, str) else f"{origin.value:.12g}"
        table.add_row(origin.variable, value, origin.source, style=style)
    screen().print(table)
