"""The command line: one file per command, gathered here in one column.

The files import what is heavy inside their commands, so that ``--help`` is quick.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from heatfleet import __version__
from heatfleet.cli import audit, cloud, config, consume, db, demo, doctor, keys, report, rollup, send, serve, simulate
from heatfleet.cli.exits import exit_code
from heatfleet.cli.help import Command, Group
from heatfleet.cli.terminal import narrate
from heatfleet.errors import HeatfleetError

_EXIT_CODES = (
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 partial, 4 not found, 75 try again later, "
    "77 not allowed, 78 configuration, 130 interrupted."
)


def commands() -> typer.Typer:
    """The command ``heatfleet`` with all its subcommands."""
    app = typer.Typer(
        name="heatfleet",
        cls=Group,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        epilog=_EXIT_CODES,
    )
    app.callback()(_heatfleet)
    app.command(cls=Command)(demo.demo)
    app.command(cls=Command)(serve.serve)
    app.command(cls=Command)(report.report)
    app.command(cls=Command)(send.send)
    app.command(cls=Command)(simulate.simulate)
    app.command(cls=Command)(rollup.rollup)
    app.command(cls=Command)(consume.consume)
    app.command(cls=Command)(audit.audit)
    app.command(cls=Command)(config.config)
    app.command(cls=Command)(doctor.doctor)
    app.add_typer(cloud.commands(), name="cloud")
    app.add_typer(keys.commands(), name="keys")
    app.add_typer(db.commands(), name="db")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit; the arguments are those of the process unless given.

    An error raised on purpose becomes its sentence on stderr and its exit code; anything else is a defect and keeps
    its traceback.
    """
    try:
        commands()(args=arguments, prog_name="heatfleet")
    except HeatfleetError as error:
        for line in str(error).splitlines():
            narrate(f"heatfleet: {line}")
        raise SystemExit(exit_code(error)) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"heatfleet {__version__}")
        raise typer.Exit


def _heatfleet(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The open energy service for fleets of connected electric heaters.

    Examples:
    $ heatfleet demo
    $ heatfleet report --tz Europe/Paris
    """
