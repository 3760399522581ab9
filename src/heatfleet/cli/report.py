"""``heatfleet report``: the energy or temperature of each hour, drawn, as lines, as CSV or as JSON."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from heatfleet.cli.connect import Url, url_of
from heatfleet.cli.terminal import narrate, on_terminal, print_json, screen


class Metric(StrEnum):
    """What a report is about."""

    ENERGY = "energy"
    TEMPERATURE = "temperature"


class Interval(StrEnum):
    """How long a cell of a report is."""

    QUARTER = "quarter"
    HOUR = "hour"
    DAY = "day"


def report(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    from_: Annotated[
        str | None, typer.Option("--from", help="First date, or date-time with a T; all there is otherwise.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The date or date-time to stop before; now otherwise.")] = None,
    tz: Annotated[str | None, typer.Option(help="Time zone, such as Europe/Paris; HEATFLEET_TZ otherwise.")] = None,
    device_id: Annotated[str | None, typer.Option(help="Only this heater.")] = None,
    product_id: Annotated[str | None, typer.Option(help="Only heaters of this model.")] = None,
    metric: Annotated[Metric, typer.Option(help="Energy in Wh, or mean temperature in °C.")] = Metric.ENERGY,
    interval: Annotated[Interval, typer.Option(help="How long a cell is.")] = Interval.HOUR,
    detail: Annotated[bool, typer.Option("--detail", help="All that is known of each cell, as lines.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The server's CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The server's JSON, with --detail in full.")] = False,
    url: Url = None,
) -> None:
    """Show the energy of each hour: as a picture on a terminal, as lines in a pipe.

    Examples:
    $ heatfleet report --from 2026-11-20 --tz Europe/Paris
    $ heatfleet report --device-id bfadafebb608a154206aqu --csv > hours.csv
    """
    if as_csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json")
    from heatfleet.client import Client

    settings, address = url_of(url)
    zone = tz or settings.tz
    parameters = {
        "from": from_,
        "to": to,
        "tz": zone,
        "device_id": device_id,
        "product_id": product_id,
        "metric": metric,
        "interval": interval,
    }
    with Client(address, api_key=settings.api_key) as client:
        if as_csv:
            for piece in client.report_csv(parameters):
                sys.stdout.buffer.write(piece)
            return
        in_full = detail or not as_json
        document = client.report({**parameters, "detail": "true" if in_full else None})
    if not document:
        narrate("nothing is known in this range; figures appear one rollup after their readings")
    if as_json:
        print_json(document)
    elif on_terminal() and not detail:
        _draw(document, metric, interval, f"{device_id or product_id or 'whole fleet'} · {zone}")
    else:
        _print_lines(document)


def _draw(document: dict[str, dict[str, Any]], metric: Metric, interval: Interval, whose: str) -> None:
    from heatfleet.cli.hours import DAYS_DRAWN_MAX, draw_days, draw_hours, read_days

    days = read_days(document, metric.value)
    if not days:
        return
    console = screen()
    console.print(f"{metric.capitalize()} by {interval} · {whose}\n", style="bold")
    if interval is Interval.DAY:
        draw_days(console, days, metric.value)
        return
    if len(days) > DAYS_DRAWN_MAX:
        console.print(f"The last {DAYS_DRAWN_MAX} of {len(days)} days; --from and --to choose others.\n")
    draw_hours(console, days[-DAYS_DRAWN_MAX:], metric.value)


def _print_lines(document: dict[str, dict[str, Any]]) -> None:
    """One cell a line, its fields in columns, for eyes and for awk."""
    print(f"{'day':<10} {'time':<11} {'energy_wh':>12} {'temperature_c':>13} {'coverage':>8} {'devices':>8} final")
    for day, times in document.items():
        for time, cell in [("-", times)] if "known_s" in times else times.items():
            energy_wh, temperature_c = (
                "-" if value is None else value for value in (cell["energy_wh"], cell["temperature_c"])
            )
            print(
                f"{day} {time:<11} {energy_wh:>12} {temperature_c:>13} {cell['coverage']:>8.4f} "
                f"{cell['devices']:>8} {'yes' if cell['final'] else 'no'}"
            )
