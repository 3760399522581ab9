"""``heatfleet cloud``: make what is needed on Google Cloud, and tell what it costs."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import typer

from heatfleet.cli.cloud_cost import cost
from heatfleet.cli.exits import ExitCode
from heatfleet.cli.help import Command, Group
from heatfleet.cli.terminal import print_json, screen
from heatfleet.domain import cloud
from heatfleet.domain.cloud import Step, Topics
from heatfleet.errors import SetupError

_STYLES = {"made": "green", "there": "dim", "missing": "yellow", "differs": "bold red"}
_SAID = {"made": "made", "there": "already there", "missing": "would be made", "differs": "DIFFERS"}
_PUSH_PATH = "/pubsub/push"


def commands() -> typer.Typer:
    """``heatfleet cloud`` and what it can do."""
    app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")
    app.callback()(_cloud)
    app.command(cls=Command)(init)
    app.command(cls=Command)(cost)
    return app


def _cloud() -> None:
    """Make what is needed on Google Cloud, and tell what it costs.

    Examples:
    $ heatfleet cloud init --project my-project --dry-run
    $ heatfleet cloud cost --devices 2000000
    """


def init(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    project: Annotated[
        str | None,
        typer.Option(help="Project to begin in; without, HEATFLEET_STORE and HEATFLEET_BUS say what to make."),
    ] = None,
    dataset: Annotated[str, typer.Option(help="Dataset in that project.")] = cloud.DATASET,
    topic: Annotated[str, typer.Option(help="Topic of orders in that project.")] = cloud.ORDERS_TOPIC,
    readings_topic: Annotated[
        str, typer.Option(help="Topic that readings come by, with a subscription of this name; '' for none.")
    ] = cloud.READINGS_TOPIC,
    location: Annotated[str | None, typer.Option(help="Where a new dataset lies: EU, US, europe-west1, ...")] = None,
    push_endpoint: Annotated[
        str, typer.Option(help=f"Address of the servers that readings are pushed to: https://HOST{_PUSH_PATH}.")
    ] = "",
    push_account: Annotated[str, typer.Option(help="E-mail of the service account whose tokens the pushes show.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be made, and make nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make the dataset, its tables, topics and subscriptions; what is there is left as it is.

    Examples:
    $ heatfleet cloud init --project my-project
    $ heatfleet cloud init --dry-run

    It may be run again at any time, and is after an update. It prints the settings to use and the roles that the parts
    need, and gives no roles itself. Exit code 1 tells that something there differs from what is needed.
    """
    if bool(push_endpoint) != bool(push_account):
        raise typer.BadParameter("--push-endpoint and --push-account go together: pushes without a token are refused")
    if push_endpoint and not push_endpoint.startswith("https://"):
        raise typer.BadParameter("--push-endpoint: Pub/Sub pushes to https:// addresses alone")
    store, bus = _what_to_make(project, dataset, topic)
    topics = Topics(topic, readings_topic, push_endpoint, push_account)
    console = screen()
    steps = []
    for step in _steps(store, bus, topics, location, dry_run=dry_run):
        steps.append(step)
        if not as_json:
            console.print(f"{_SAID[step.state]:<14}", style=_STYLES[step.state], end="")
            console.print(f"{step.kind:<13} {step.name}{f': {step.note}' if step.note else ''}", soft_wrap=True)
    settings = {"HEATFLEET_STORE": store, "HEATFLEET_BUS": bus}
    if push_endpoint:
        settings |= {"HEATFLEET_PUSH_AUDIENCE": push_endpoint, "HEATFLEET_PUSH_ACCOUNT": push_account}
    settings = {name: value for name, value in settings.items() if value}
    if as_json:
        needs = [need._asdict() for need in cloud.NEEDS]
        print_json({"steps": [step._asdict() for step in steps], "settings": settings, "needs": needs})
    else:
        _show_what_next(settings)
    if any(step.state == "differs" for step in steps):
        raise typer.Exit(ExitCode.FAILURE)


def _what_to_make(project: str | None, dataset: str, topic: str) -> tuple[str, str]:
    """The URLs of store and bus, empty for one that is not Google's."""
    if project is not None:
        return f"bigquery://{project}/{dataset}", f"pubsub://{project}/{topic}"
    from heatfleet.config import load_settings
    from heatfleet.messaging import is_pubsub
    from heatfleet.storage import is_bigquery

    settings = load_settings()
    store = settings.store if is_bigquery(settings.store) else ""
    bus = settings.bus if is_pubsub(settings.bus) else ""
    if not store and not bus:
        raise SetupError(
            "there is nothing to make: give --project, or set HEATFLEET_STORE=bigquery://PROJECT/DATASET "
            "and HEATFLEET_BUS=pubsub://PROJECT/TOPIC"
        )
    return store, bus


def _steps(store: str, bus: str, topics: Topics, location: str | None, *, dry_run: bool) -> Iterator[Step]:
    from heatfleet.messaging import set_up_topics
    from heatfleet.storage import set_up_dataset

    if store:
        yield from set_up_dataset(store, location=location, dry_run=dry_run)
    if bus:
        named = topics._replace(orders=urlsplit(bus).path.removeprefix("/"))
        yield from set_up_topics(bus, named, dry_run=dry_run)


def _show_what_next(settings: dict[str, str]) -> None:
    console = screen()
    console.print("\nThe settings to use:", style="bold")
    for name, value in settings.items():
        console.print(f"  export {name}='{value}'", soft_wrap=True)
    console.print("\nThe least roles that each part needs, and what it uses of them:", style="bold")
    for who, needs in cloud.needs_by_who():
        console.print(f"  {who}", soft_wrap=True)
        for need in needs:
            console.print(f"    {need.role:<29} on the {need.on}: {need.what_for}", soft_wrap=True)
            console.print(f"      {', '.join(need.permissions)}", style="dim", soft_wrap=True)
    console.print("\n`heatfleet doctor` looks at whether they are there.")
