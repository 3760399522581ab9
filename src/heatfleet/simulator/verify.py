"""Compares what the service reports with what was true, and with what it can know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2

from heatfleet.simulator.account import Account, HourAccount
from heatfleet.simulator.clock import Clock, wall_clock
from heatfleet.simulator.errors import SimulatorError
from heatfleet.simulator.options import STEP_MS, SimulationOptions
from heatfleet.simulator.post import service_at
from heatfleet.simulator.truth import HOUR_MS
from heatfleet.simulator.wire import product_ids

_MJ_PER_WH = 3_600_000
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """The service's figures: Wh by start of the UTC hour (ms since the epoch), and the hours that still grow."""

    energy_wh: Mapping[int, int]
    open_ms: frozenset[int]


@dataclass(frozen=True, slots=True)
class HourDifference:
    """One hour: what can be known and what is reported, both in whole Wh, None where there is no figure."""

    start_ms: int
    knowable_wh: int | None
    report_wh: int | None

    @property
    def difference_wh(self) -> int:
        """Report less knowable; a missing figure counts as zero."""
        return (self.report_wh or 0) - (self.knowable_wh or 0)

    @property
    def agrees(self) -> bool:
        """Whether both are the same figure, or both absent."""
        return self.knowable_wh == self.report_wh


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The energy of a simulation three times over: true, knowable and reported, in Wh.

    All figures are for the ``hours`` UTC hours that are over; ``hours_open`` more are not, and are left out: their
    figures grow from rollup to rollup. ``start_ms`` and ``end_ms`` are the ends of all hours of the simulation.
    What the heaters drew differs from what can be known by exactly four parts::

        true_energy_wh + quantisation_wh + silence_wh + clock_wh + tail_wh = knowable_wh

    ``quantisation_wh``  devices say whole watts, and small changes not at all
    ``silence_wh``       what silent devices say is lost; the last value is believed for the hold, then nothing
    ``clock_wh``         readings with wrong times: values hold too long, too short, or outside these hours
    ``tail_wh``          in the last hour, after the simulation's end: the last values are still believed

    The report must be the knowable figure, hour by hour and digit by digit: ``exact``. ``hours_wrong`` counts
    those that are not, ``worst`` is the hour with the greatest difference (None where there is no hour at
    all).
    """

    start_ms: int
    end_ms: int
    hours: int
    hours_open: int
    hours_wrong: int
    true_energy_wh: float
    knowable_wh: float
    report_wh: int
    quantisation_wh: float
    silence_wh: float
    clock_wh: float
    tail_wh: float
    worst: HourDifference | None

    @property
    def exact(self) -> bool:
        """Whether every hour of the report is what can be known, rounded to Wh."""
        return self.hours_wrong == 0

    @property
    def report_vs_true_percent(self) -> float:
        """How much more (or less, below 0) is reported than was drawn."""
        return _percent(self.report_wh, self.true_energy_wh)

    @property
    def report_vs_knowable_percent(self) -> float:
        """How much more is reported than can be known: rounding, unless something is wrong."""
        return _percent(self.report_wh, self.knowable_wh)

    @property
    def knowable_vs_true_percent(self) -> float:
        """How much more can be known than was drawn: the four parts together."""
        return _percent(self.knowable_wh, self.true_energy_wh)

    def part_percent(self, part_wh: float) -> float:
        """One of the four parts in percent of what was drawn."""
        return _percent(self.true_energy_wh + part_wh, self.true_energy_wh)


def compare(hours: list[HourAccount], report: Report) -> VerifyResult:
    """Hold a report against the books: every hour of both that is over must be the same."""
    over = [hour for hour in hours if hour.start_ms not in report.open_ms]
    differences = [
        HourDifference(
            hour.start_ms,
            None if hour.knowable_mj is None else _whole_wh(hour.knowable_mj),
            report.energy_wh.get(hour.start_ms),
        )
        for hour in over
    ]
    return VerifyResult(
        start_ms=hours[0].start_ms,
        end_ms=hours[-1].start_ms + HOUR_MS,
        hours=len(over),
        hours_open=len(hours) - len(over),
        hours_wrong=sum(not difference.agrees for difference in differences),
        true_energy_wh=sum(hour.true_wh for hour in over),
        knowable_wh=sum(hour.knowable_wh for hour in over),
        report_wh=sum(difference.report_wh or 0 for difference in differences),
        quantisation_wh=sum(hour.quantisation_wh for hour in over),
        silence_wh=sum(hour.silence_wh for hour in over),
        clock_wh=sum(hour.clock_wh for hour in over),
        tail_wh=sum(hour.tail_wh for hour in over),
        worst=max(differences, key=lambda difference: abs(difference.difference_wh), default=None),
    )


async def verify(
    account: Account,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    settle_s: float = 90.0,
    on_wait: Callable[[VerifyResult], None] | None = None,
    clock: Clock | None = None,
) -> VerifyResult:
    """Ask ``{url}/report`` for the hours of a simulation and compare.

    The service may take a rollup period (60 s) to count the last readings: as long as the figures differ, it
    is asked again for ``settle_s`` seconds, and ``on_wait`` is told each time. Other devices of the same
    service are in its report too: verify against a service that holds nothing else.

    Raises SimulatorError when there is no report to be had, or when nothing was simulated.
    """
    clock = clock or wall_clock()
    until_ms = clock.now_ms() + settle_s * 1000
    if account.end_ms == account.start_ms:
        raise SimulatorError("the simulation ended before it began: there is nothing to verify")
    async with service_at(url, headers, connections=1) as client:
        while True:
            now_ms = clock.now_ms()
            hours = account.hours(max(now_ms, account.end_ms))
            result = compare(hours, await _fetch(client, hours, now_ms))
            if result.exact or now_ms >= until_ms:
                return result
            if on_wait is not None:
                on_wait(result)
            await clock.sleep(_LOOK_AGAIN_S)


async def check_alone(options: SimulationOptions, *, headers: Mapping[str, str] | None = None) -> None:
    """Whether the report knows of no other devices than this fleet's in the hours of a simulation to come.

    What the same fleet said before is no harm: it counts once. Raises SimulatorError where there are others, since
    ``verify`` could only fail, or where there is no report to be had.
    """
    end_ms = options.start_ms + STEP_MS if options.end_ms is None else options.end_ms
    async with service_at(options.url, headers, connections=1) as client:
        whose = [{}, *({"product_id": product_id} for product_id in product_ids(options.seed))]
        heard, *ours = [
            sum(
                cell["devices"]
                for cells in (await _ask(client, options.start_ms, end_ms, **who)).values()
                for cell in cells.values()
            )
            for who in whose
        ]
    if heard != sum(ours):
        raise SimulatorError(
            "the server holds readings of other heaters in this time, so its report cannot be this fleet's alone; "
            "verify against an empty store, such as that of "
            "`heatfleet serve --port 9000 --store sqlite:///var/verify.db`, with --url http://127.0.0.1:9000"
        )


async def _fetch(client: httpx2.AsyncClient, hours: list[HourAccount], now_ms: int) -> Report:
    document = await _ask(client, hours[0].start_ms, hours[-1].start_ms + HOUR_MS)
    report = read_report(document)
    not_over = {hour.start_ms for hour in hours if hour.start_ms + HOUR_MS > now_ms}
    return Report(report.energy_wh, report.open_ms | not_over)


async def _ask(client: httpx2.AsyncClient, start_ms: int, end_ms: int, **only: str) -> dict[str, dict[str, Any]]:
    """The detailed report of the UTC hours from ``start_ms`` to ``end_ms``, of which ``read_report`` can make one."""
    wanted = {
        "from": _rfc3339(start_ms - start_ms % HOUR_MS),
        "to": _rfc3339(end_ms + -end_ms % HOUR_MS),
        "tz": "UTC",
        "interval": "hour",
        "detail": "true",
        **only,
    }
    try:
        answer = await client.get("/report", params=wanted)
    except httpx2.TransportError as error:
        raise SimulatorError(f"no report: {client.base_url} does not answer ({type(error).__name__})") from error
    if not answer.is_success:
        raise SimulatorError(f"no report: {answer.url} answers {answer.status_code}: {answer.text[:200]}")
    try:
        document: dict[str, dict[str, Any]] = answer.json()
        read_report(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SimulatorError(f"the answer of {answer.url} is no report: {answer.text[:200]}") from error
    return document


def read_report(document: Mapping[str, Mapping[str, Any]]) -> Report:
    """A detailed hourly report in UTC: ``{"2026-01-05": {"00:00": {"energy_wh": 1234, "final": true, ...}}}``.

    Raises ValueError, TypeError, KeyError or AttributeError for anything else.
    """
    energy_wh, open_ms = {}, set()
    for day, cells in document.items():
        for hour, cell in cells.items():
            moment = datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=UTC)
            start_ms = round(moment.timestamp() * 1000)
            if cell["energy_wh"] is not None:
                energy_wh[start_ms] = int(cell["energy_wh"])
            if not cell["final"]:
                open_ms.add(start_ms)
    return Report(energy_wh, frozenset(open_ms))


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _whole_wh(energy_mj: int) -> int:
    """Rounded half to even, without ever leaving the whole numbers."""
    whole, rest = divmod(energy_mj, _MJ_PER_WH)
    beyond = 2 * rest - _MJ_PER_WH
    return whole + (beyond > 0 or (beyond == 0 and whole % 2 == 1))


def _percent(part: float, whole: float) -> float:
    """The excess of part over whole in percent; 0 if both are nothing."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return (part / whole - 1.0) * 100.0
