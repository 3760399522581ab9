"""``heatfleet rollup``: bring the figures up to date."""

from typing import Annotated

import typer

from heatfleet.cli.terminal import print_json, utc


def rollup(
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Throw all figures away and make them again from the readings.")
    ] = False,
    every: Annotated[
        float | None, typer.Option("--every", min=0.1, metavar="SECONDS", help="Go on until Ctrl-C, that often.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="URL of the store; HEATFLEET_STORE otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was done as one JSON object.")] = False,
) -> None:
    """Turn new readings into figures, once; a running server does this by itself.

    Examples:
    $ heatfleet rollup
    $ heatfleet rollup --rebuild --json
    """
    if every is not None and (rebuild or as_json):
        raise typer.BadParameter("--every goes on for ever; use it without --rebuild and --json")
    from dataclasses import asdict

    from heatfleet.config import load_settings
    from heatfleet.logs import configure_logging
    from heatfleet.rollup import rollup_once, run_every

    settings = load_settings(store=store)
    if every is not None:
        configure_logging(settings)
        run_every(settings, every)
        return
    done = rollup_once(settings, rebuild=rebuild)
    if as_json:
        print_json(asdict(done))
    elif done.readings:
        readings = "1 reading" if done.readings == 1 else f"{done.readings:,} readings"
        print(
            f"{readings} rolled up, {done.late:,} of them late, in {done.duration_s:.2f} s; "
            f"the figures count everything up to {utc(done.as_of_ms)}"
        )
    else:
        print(f"nothing new: the figures count everything up to {utc(done.as_of_ms)}")
