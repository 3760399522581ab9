"""``heatfleet cloud cost``: what a fleet costs on Google Cloud."""

from typing import Annotated

import typer

from heatfleet.cli.terminal import print_json, screen
from heatfleet.domain.cost import MONTH_DAYS, Line, Prices, Usage, Way, reckon

_USAGE = Usage(2_000_000, 500)
_PRICES = Prices()
_UNPRICED = "-"


def cost(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    devices: Annotated[int, typer.Option(min=1, help="Devices of the fleet.")] = _USAGE.devices,
    messages_per_day: Annotated[float, typer.Option(min=0, help="Messages of one device a day.")] = _USAGE.messages,
    readings_per_message: Annotated[
        float, typer.Option(min=0, help="Readings in a message.")
    ] = _USAGE.readings_per_message,
    orders_per_day: Annotated[float, typer.Option(min=0, help="Orders to one device a day.")] = _USAGE.orders,
    reports_per_day: Annotated[float, typer.Option(min=0, help="Reports a day, of all who ask.")] = _USAGE.reports,
    rollup_every: Annotated[
        float, typer.Option(min=10, metavar="SECONDS", help="Time between two rollups.")
    ] = _USAGE.rollup_every_s,
    late_rollups: Annotated[float, typer.Option(min=0, max=1, help="Share of them that find late words.")] = 1.0,
    kept_days: Annotated[int, typer.Option(min=1, help="Days that readings are kept.")] = _USAGE.kept_days,
    readings_by: Annotated[
        Way, typer.Option(help="How messages come: over HTTP, or through Pub/Sub, pulled or pushed.")
    ] = _USAGE.way,
    price_append_gib: Annotated[float, typer.Option(min=0, help="Of appending a GiB.")] = _PRICES.append_gib,
    price_store_gib_month: Annotated[
        float, typer.Option(min=0, help="Of keeping a GiB for a month.")
    ] = _PRICES.store_gib_month,
    price_long_term_gib_month: Annotated[
        float, typer.Option(min=0, help="The same once it lay unchanged for 90 days.")
    ] = _PRICES.long_term_gib_month,
    price_scan_tib: Annotated[float, typer.Option(min=0, help="Of a TiB that queries read.")] = _PRICES.scan_tib,
    price_pubsub_tib: Annotated[float, typer.Option(min=0, help="Of a TiB through Pub/Sub.")] = _PRICES.pubsub_tib,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Tell what a fleet costs on Google Cloud a day: how much of what, and at which price.

    Examples:
    $ heatfleet cloud cost
    $ heatfleet cloud cost --devices 100000 --readings-by pull --price-scan-tib 7.5

    Prices are Google's list prices in US dollars as of 2026, for the locations EU and US; look yours up. Free shares
    are not taken off. Servers, PostgreSQL and networks are not in it.
    """
    usage = Usage(
        devices=devices,
        messages=messages_per_day,
        readings_per_message=readings_per_message,
        orders=orders_per_day,
        reports=reports_per_day,
        rollup_every_s=rollup_every,
        late_rollups=late_rollups,
        kept_days=kept_days,
        way=readings_by,
    )
    prices = Prices(
        append_gib=price_append_gib,
        store_gib_month=price_store_gib_month,
        long_term_gib_month=price_long_term_gib_month,
        scan_tib=price_scan_tib,
        pubsub_tib=price_pubsub_tib,
    )
    _show(reckon(usage, prices), as_json=as_json)


def _show(lines: list[Line], *, as_json: bool) -> None:
    from rich.table import Table

    day = sum(line.cost for line in lines)
    if as_json:
        told = [line._asdict() | {"cost_per_day": line.cost} for line in lines]
        print_json({"lines": told, "cost_per_day": day, "cost_per_month": day * MONTH_DAYS})
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    table.add_column("what", footer="together", no_wrap=True)
    for heading, footer in (("a day", ""), ("unit", ""), ("price", ""), ("cost", f"{day:,.2f}")):
        table.add_column(heading, justify="left" if heading == "unit" else "right", footer=footer, no_wrap=True)
    table.add_column(f"{MONTH_DAYS} days", justify="right", footer=f"{day * MONTH_DAYS:,.2f}")
    for line in lines:
        amount = f"{line.amount:,.0f}" if line.amount >= 100 else f"{line.amount:.3g}"
        costs = (f"{line.cost:,.2f}", f"{line.cost * MONTH_DAYS:,.2f}") if line.price else (_UNPRICED, _UNPRICED)
        table.add_row(line.what, amount, line.unit, f"{line.price:.3g}" if line.price else _UNPRICED, *costs)
    screen().print(table)
