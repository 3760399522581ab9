"""``heatfleet simulate``: a fleet with true physics that posts to a server, and may check its report."""

import asyncio
import signal
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatfleet.cli.connect import Url, url_of
from heatfleet.cli.exits import ExitCode
from heatfleet.cli.terminal import narrate, print_json, utc

if TYPE_CHECKING:
    from heatfleet.simulator import FaultOptions, SimulationOptions, SimulationResult, VerifyResult

_FAULTS = "Faults"
_ROLLUP_S = 60.0
"""What one rollup of much history may take."""


def _instant(option: str, text: str) -> int:
    """``now``, a date, or a date-time, in UTC unless it says otherwise; as ms since the epoch."""
    if text == "now":
        return time.time_ns() // 1_000_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option}: write now, 2026-11-20 or 2026-11-20T18:00") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _start(text: str) -> int:
    start_ms = _instant("--from", text)
    if start_ms > _instant("--from", "now"):
        raise typer.BadParameter("--from: this is in the future, and no heater is ahead of the clock")
    return start_ms


def _speed(text: str) -> float | None:
    """Simulated seconds per second; ``max`` is ``None``, as fast as the server takes it."""
    try:
        return None if text == "max" else float(text)
    except ValueError:
        raise typer.BadParameter("--speed: write max, or a number such as 60") from None


def _share(help_text: str) -> Any:
    return typer.Option(min=0.0, max=1.0, metavar="SHARE", help=help_text, rich_help_panel=_FAULTS)


def simulate(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    devices: Annotated[int, typer.Option(min=1, help="How many heaters.")] = 100,
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="First instant: a date, date-time or now.")
    ] = "now",
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Last instant; live until Ctrl-C otherwise.")] = None,
    speed: Annotated[
        str, typer.Option(metavar="X|max", help="Simulated seconds a second, never ahead of now.")
    ] = "max",
    seed: Annotated[int, typer.Option(min=0, help="The same seed is the same fleet, to the byte.")] = 1,
    arrival_seed: Annotated[int | None, typer.Option(help="Another order of arrival of the same messages.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare the report with the truth at the end.")] = False,
    settle: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="With --verify: how long the report may take to follow."),
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="All faults, as often as in the field.", rich_help_panel=_FAULTS)
    ] = False,
    silence: Annotated[float | None, _share("Of device time: offline, and what is said meanwhile is lost.")] = None,
    delay: Annotated[float | None, _share("Of device time: offline, and all is delivered afterwards.")] = None,
    disorder: Annotated[float | None, _share("Of messages: overtaken by others.")] = None,
    repeat: Annotated[float | None, _share("Of messages: delivered twice.")] = None,
    wrong_clock: Annotated[float | None, _share("Of devices: their clock is wrong half of the time.")] = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Live through some time with a fleet of simulated heaters that post to the server.

    Examples:
    $ heatfleet simulate --devices 500 --from 2026-11-20 --to now
    $ heatfleet simulate --from 2026-11-20 --to 2026-11-23 --faults --verify

    With --verify the server must hold nothing else in that time; exit code 1 tells that its report is wrong.
    """
    from heatfleet.simulator import SimulationOptions, SimulatorError

    if verify and to is None:
        raise typer.BadParameter("--verify needs an end: give --to")
    shares = {"silence": silence, "delay": delay, "disorder": disorder, "repeat": repeat, "wrong_clock": wrong_clock}
    settings, address = url_of(url)
    try:
        options = SimulationOptions(
            devices=devices,
            start_ms=_start(from_),
            end_ms=None if to is None else _instant("--to", to),
            speed=_speed(speed),
            url=address,
            seed=seed,
            arrival_seed=arrival_seed,
            hold_s=settings.max_hold_s,
            faults=_fault_options(shares, all_of_them=faults),
        )
    except SimulatorError as error:
        raise typer.BadParameter(str(error)) from None
    settle_s = (_ROLLUP_S + settings.rollup_every_s if settle is None else settle) if verify else None
    result, compared = asyncio.run(_live(options, settle_s, settings.api_key))
    _tell(result, compared, as_json=as_json)
    raise typer.Exit(_code(result, compared))


def _check_ready(address: str) -> None:
    """Say at once that there is no server, where the fleet would try again for minutes."""
    from heatfleet.client import Client

    with Client(address) as client:
        client.ready()


def _fault_options(shares: dict[str, float | None], *, all_of_them: bool) -> "FaultOptions":
    from dataclasses import replace

    from heatfleet.simulator import FaultOptions

    base = FaultOptions.all() if all_of_them else FaultOptions()
    return replace(base, **{f"{name}_share": share for name, share in shares.items() if share is not None})


async def _live(
    options: "SimulationOptions", settle_s: float | None, api_key: str
) -> "tuple[SimulationResult, VerifyResult | None]":
    """Run it; then, with a time for the report to settle, compare."""
    from heatfleet.cli.progress import ProgressView
    from heatfleet.client import authorization
    from heatfleet.simulator import check_alone, run, verify

    _check_ready(options.url)
    headers = authorization(api_key)
    if settle_s is not None:
        await check_alone(options, headers=headers)
    stop = stop_on_signals()
    with ProgressView(options.start_ms) as view:
        result = await run(options, on_progress=view, stop=stop, headers=headers)
    if stop.is_set() and options.end_ms is not None:
        narrate("stopped before its end; run the same again to finish it: nothing counts twice")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if settle_s is None:
        return result, None
    narrate(f"comparing with the report, for up to {settle_s:.0f} s: the last readings may take a rollup to show")
    return result, await verify(result.account, options.url, headers=headers, settle_s=settle_s)


def stop_on_signals() -> asyncio.Event:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets; for the loop that runs now."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _code(result: "SimulationResult", compared: "VerifyResult | None") -> ExitCode:
    if compared and not compared.exact:
        return ExitCode.FAILURE
    return ExitCode.PARTIAL if result.posted.refused else ExitCode.OK


def _tell(result: "SimulationResult", compared: "VerifyResult | None", *, as_json: bool) -> None:
    posted = result.posted
    if as_json:
        outcome = {
            **asdict(posted),
            "orders_obeyed": result.orders_obeyed,
            "orders_ignored": result.orders_ignored,
            "elapsed_s": result.elapsed_s,
        }
        print_json(outcome if compared is None else outcome | {"verify": asdict(compared) | {"exact": compared.exact}})
        return
    print(
        f"{posted.messages:,} messages, {posted.inserted:,} readings accepted (repeats too), "
        f"{posted.refused:,} refused, {posted.retries:,} retries, {result.orders_obeyed:,} orders obeyed, "
        f"{result.elapsed_s:.1f} s"
    )
    for refusal in posted.refusals:
        print(f"  refused: {refusal}")
    if compared:
        _tell_comparison(compared)


def _tell_comparison(compared: "VerifyResult") -> None:
    true_wh = compared.true_energy_wh
    print(f"\nEnergy from {utc(compared.start_ms)} to {utc(compared.end_ms)}, kWh")
    rows = [
        ("drawn by the heaters", true_wh, ""),
        ("whole watts only", compared.quantisation_wh, "part"),
        ("silence", compared.silence_wh, "part"),
        ("wrong clocks", compared.clock_wh, "part"),
        ("last values held", compared.tail_wh, "part"),
        ("can be known", compared.knowable_wh, ""),
        ("reported", float(compared.report_wh), ""),
    ]
    for name, energy_wh, kind in rows:
        percent = compared.part_percent(energy_wh) if kind else compared.part_percent(energy_wh - true_wh)
        indent = "  " if kind else ""
        print(f"{indent + name:<28} {energy_wh / 1000:>14,.3f} {percent:>+9.4f} %")
    beyond = f"{compared.report_vs_knowable_percent:+.4f} %"
    if compared.exact:
        print(
            f"\nThe report is exact: all {compared.hours} hours are what can be known, to the watt-hour "
            f"({beyond} is the rounding to whole Wh)."
        )
    elif compared.worst:
        worst = compared.worst
        print(
            f"\nThe report is wrong in {compared.hours_wrong} of {compared.hours} hours ({beyond} in all), "
            "or the server holds other readings; worst is "
            f"{utc(worst.start_ms)}: {worst.report_wh} Wh reported, {worst.knowable_wh} Wh can be known."
        )
