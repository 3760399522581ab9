"""Comparing the report with the truth."""

import json
from collections import Counter, defaultdict
from typing import Any

import pytest

from heatfleet.domain.energy import tally
from heatfleet.domain.messages import Reading, read_message
from heatfleet.simulator import Account, FaultOptions, SimulatorError, VerifyResult, run, verify
from heatfleet.simulator.verify import Report, compare, read_report
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, Answer, Hand, TinyService, parse, winter


class ReportingService:
    """Lets the tiny service report what the definition makes of everything it was posted."""

    def __init__(self, service: TinyService, hand: Hand) -> None:
        self._service, self._hand = service, hand
        self.missing_wh = 0
        self.asked = 0
        service.report = self._report

    def _report(self) -> bytes:
        self.asked += 1
        now_ms, said = self._hand.now_ms, defaultdict(list)
        readings: set[Reading] = {one for line in parse(self._service.lines) for one in read_message(line, now_ms)}
        for reading in readings:
            said[reading.device_id].append(reading)
        hours: Counter[int] = Counter()
        for one in said.values():
            for (_, slot), cell in tally(one, hold_ms=HOUR_MS, now_ms=now_ms).items():
                hours[slot // 4] += cell.energy_mj
        document: dict[str, dict[str, Any]] = defaultdict(dict)
        for hour, energy_mj in sorted(hours.items()):
            day, of_day = divmod(hour - JANUARY_MS // HOUR_MS, 24)
            document[f"2026-01-{12 + day}"][f"{of_day:02}:00"] = {
                "energy_wh": round(energy_mj / 3.6e6) - self.missing_wh,
                "final": (hour + 1) * HOUR_MS <= now_ms,
            }
        return json.dumps(document).encode()


async def simulated(service: TinyService, hand: Hand, hours: float = 7.5, **more: Any) -> Account:
    """The books of a simulation the tiny service has heard."""
    result = await run(winter(hours, url=service.url, **more), clock=hand.clock())
    return result.account


@pytest.mark.parametrize("faults", [FaultOptions(), FaultOptions.all()])
async def test_a_right_report_is_exact(service: TinyService, hand: Hand, faults: FaultOptions) -> None:
    """A service that follows the definition reports what can be known, and the parts explain the rest."""
    reporting = ReportingService(service, hand)
    account = await simulated(service, hand, faults=faults)
    result = await verify(account, service.url, headers={"X-Api-Key": "k"}, clock=hand.clock())

    assert result.exact
    assert (result.hours, result.hours_open, reporting.asked) == (8, 0, 1)
    parts_wh = result.quantisation_wh + result.silence_wh + result.clock_wh + result.tail_wh
    assert result.true_energy_wh + parts_wh == pytest.approx(result.knowable_wh)
    assert abs(result.report_wh - result.knowable_wh) <= 0.5 * 8
    assert abs(result.report_vs_knowable_percent) < 0.05
    assert result.knowable_vs_true_percent == pytest.approx(result.part_percent(parts_wh))
    assert result.worst is not None
    assert result.worst.difference_wh == 0
    assert service.requests[-1].headers["x-api-key"] == "k"
    assert "from=2026-01-12T00%3A00%3A00Z&to=2026-01-12T08%3A00%3A00Z" in service.requests[-1].target


async def test_a_wrong_report_is_found(service: TinyService, hand: Hand) -> None:
    """A report that is 3 Wh short in every hour is asked for until the patience ends, and is not exact."""
    reporting = ReportingService(service, hand)
    account = await simulated(service, hand)
    reporting.missing_wh = 3
    waits: list[VerifyResult] = []
    result = await verify(account, service.url, settle_s=5, on_wait=waits.append, clock=hand.clock())

    assert not result.exact
    assert result.hours_wrong == 8
    assert result.worst is not None
    assert result.worst.difference_wh == -3
    assert len(waits) == 5


async def test_a_report_that_is_late_is_waited_for(service: TinyService, hand: Hand) -> None:
    """Figures that only come with the next rollup are waited for."""
    reporting = ReportingService(service, hand)
    account = await simulated(service, hand)
    reporting.missing_wh = 3

    def mend(_: VerifyResult) -> None:
        reporting.missing_wh = 0

    assert (await verify(account, service.url, on_wait=mend, clock=hand.clock())).exact
    assert reporting.asked == 2


async def test_an_hour_that_goes_on_is_left_out(service: TinyService, hand: Hand) -> None:
    """The hour in which the simulation was stopped a minute ago is open, and not compared."""
    hand.now_ms = JANUARY_MS + round(7.6 * HOUR_MS)
    ReportingService(service, hand)
    account = await simulated(service, hand)
    result = await verify(account, service.url, clock=hand.clock())

    assert result.exact
    assert (result.hours, result.hours_open, result.tail_wh) == (7, 1, 0)


async def test_an_hour_before_its_first_rollup_is_open(service: TinyService, hand: Hand) -> None:
    """A figure that is missing because its hour has only begun is no mistake."""
    hand.now_ms = JANUARY_MS + HOUR_MS // 2
    account = await simulated(service, hand, hours=0.5)
    result = await verify(account, service.url, clock=hand.clock())

    assert (result.hours, result.hours_open, result.worst) == (0, 1, None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(401, b'{"detail": "no key"}'), "answers 401.*no key"),
        (Answer(200, b"<html>"), "is no report"),
        (Answer(200, b'{"2026-01-12": {"00:00": 5}}'), "is no report"),
        (Answer(hang_up=True), "does not answer"),
    ],
)
async def test_no_report_is_an_error(service: TinyService, hand: Hand, answer: Answer, words: str) -> None:
    """Where there is no report to be had, the error says what came instead."""
    account = await simulated(service, hand, hours=1)
    service.script = [answer] * 3

    with pytest.raises(SimulatorError, match=words):
        await verify(account, service.url, clock=hand.clock())


def test_absent_is_not_zero() -> None:
    """A known zero that is missing from the report is wrong, and so is a figure for an hour nobody knows."""
    account = [hour_account(0, 0), hour_account(1, None), hour_account(2, None), hour_account(3, 1_800_000)]
    result = compare(account, Report({HOUR_MS: 0, 3 * HOUR_MS: 0}, frozenset()))

    assert result.hours_wrong == 2
    assert result.worst is not None


def hour_account(number: int, knowable_mj: int | None) -> Any:
    """An hour's books with nothing else in them."""
    from heatfleet.simulator import HourAccount

    return HourAccount(number * HOUR_MS, 0.0, knowable_mj, 0.0, 0.0, 0.0, 0.0)


def test_halves_are_rounded_to_the_even() -> None:
    """Half a Wh is rounded to the even neighbour, as reports are."""
    account = [hour_account(number, 1_800_000 + number * 3_600_000) for number in range(4)]

    assert compare(account, Report({n * HOUR_MS: wh for n, wh in enumerate([0, 2, 2, 4])}, frozenset())).exact


def test_a_report_is_read_cell_by_cell() -> None:
    """Figures are keyed by instant; cells without energy are left out, open ones are marked."""
    cell = {"energy_wh": 7, "final": True}
    report = read_report({"2026-01-12": {"00:00": cell, "01:00": {"energy_wh": None, "final": False}}})

    assert report == Report({JANUARY_MS: 7}, frozenset({JANUARY_MS + HOUR_MS}))


def test_percents_of_nothing() -> None:
    """Nothing compared with nothing is no difference; something compared with nothing is beyond measure."""
    nothing = compare([hour_account(0, None)], Report({}, frozenset()))
    something = compare([hour_account(0, None)], Report({0: 5}, frozenset()))

    assert nothing.report_vs_true_percent == 0
    assert something.report_vs_true_percent == float("inf")


async def test_nothing_simulated_cannot_be_verified(service: TinyService, hand: Hand) -> None:
    """A simulation that ended before its first step has nothing to compare."""
    from heatfleet.simulator import Fleet

    with pytest.raises(SimulatorError, match="nothing to verify"):
        await verify(Fleet(winter(1)).account, service.url, clock=hand.clock())
