"""A simulated fleet with every fault, posted over HTTP: the report is what can be known, to the digit."""

import asyncio
import gzip
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from heatfleet.simulator import FaultOptions, SimulationOptions, SimulationResult, run, verify
from tests.path.conftest import Lived, live
from tests.path.expected import expected_report, milliseconds, readings_in
from tests.serving import RunningServer

REPORTS: tuple[dict[str, str], ...] = (
    {},
    {"detail": "true"},
    {"interval": "quarter"},
    {"interval": "day", "tz": "Europe/Paris", "detail": "true"},
    {"metric": "temperature", "tz": "Asia/Kathmandu"},
    {"format": "csv"},
)


def fleet(start: str, end: str, devices: int) -> Lived:
    options = SimulationOptions(
        devices, milliseconds(start), milliseconds(end), faults=FaultOptions.all(), seed=7, batch_size=500
    )
    return live(options)


@pytest.fixture(scope="module")
def autumn() -> Lived:
    """Two and a half days around the night in which Europe sets its clocks back."""
    return fleet("2026-10-24T00:00", "2026-10-26T12:00", devices=40)


@pytest.fixture(scope="module")
def spring() -> Lived:
    """The night in which Europe sets its clocks forward, with the days around it."""
    return fleet("2026-03-28T12:00", "2026-03-30T06:00", devices=10)


@pytest.fixture(scope="module")
def simulated(
    autumn: Lived, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, SimulationResult]]:
    """A server that the fleet of autumn has posted to, with one rollup after it, and the simulator's books."""
    server = RunningServer(tmp_path_factory.mktemp("simulated"))
    result = asyncio.run(run(replace(autumn.options, url=server.base_url)))
    server.rollup()
    yield server, result
    server.close()


def test_the_report_is_what_can_be_known(simulated: tuple[RunningServer, SimulationResult], autumn: Lived) -> None:
    """Hour by hour, the report is the simulator's own account of what can be known, and the definition's."""
    server, result = simulated
    verdict = asyncio.run(verify(result.account, server.base_url, settle_s=0))

    assert verdict.exact
    assert 60 == verdict.hours
    assert (result.posted.messages, result.posted.refused) == (len(autumn.lines), 0)
    assert result.posted.inserted == len(autumn.readings)
    assert expected_report(autumn.readings, milliseconds("2026-11-01")) == server.client.get("/report").json()


def test_the_report_is_true_within_what_is_stated(simulated: tuple[RunningServer, SimulationResult]) -> None:
    """What separates the report from the energy drawn is rounding, and parts that the simulator accounts for."""
    server, result = simulated
    verdict = asyncio.run(verify(result.account, server.base_url, settle_s=0))
    parts_wh = verdict.quantisation_wh + verdict.silence_wh + verdict.clock_wh + verdict.tail_wh

    assert verdict.hours / 2 >= abs(verdict.report_wh - verdict.knowable_wh)
    assert verdict.knowable_wh == pytest.approx(verdict.true_energy_wh + parts_wh)
    assert 0.1 > abs(verdict.part_percent(verdict.quantisation_wh))
    assert 0 > verdict.part_percent(verdict.silence_wh) > -3  # three percent of the time is silence


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu"])
def test_a_report_in_any_zone_is_the_definition_regrouped(
    zone: str, simulated: tuple[RunningServer, SimulationResult], autumn: Lived
) -> None:
    """The same slots, put where another clock shows them, to the Wh."""
    told = simulated[0].client.get("/report", params={"tz": zone}).json()

    assert expected_report(autumn.readings, milliseconds("2026-11-01"), zone) == told


def test_the_day_of_25_hours(simulated: tuple[RunningServer, SimulationResult]) -> None:
    """Where Paris sets its clocks back, the hour that they show twice has two keys, in the order of time."""
    window = {"tz": "Europe/Paris", "from": "2026-10-25", "to": "2026-10-26"}
    [(day, hours)] = simulated[0].client.get("/report", params=window).json().items()
    usual = [f"{hour:02}:00" for hour in range(24)]

    assert "2026-10-25" == day
    assert [*usual[:2], "02:00+02:00", "02:00+01:00", *usual[3:]] == list(hours)


def test_the_day_of_23_hours(server: RunningServer, spring: Lived) -> None:
    """Where Paris sets its clocks forward, the hour that they leap over has no key, and no energy is lost."""
    post_in_order(server, spring.lines)
    server.rollup()
    told = server.client.get("/report", params={"tz": "Europe/Paris"}).json()

    assert [f"{hour:02}:00" for hour in range(24) if hour != 2] == list(told["2026-03-29"])
    assert expected_report(spring.readings, milliseconds("2026-11-01"), "Europe/Paris") == told


def test_another_order_of_arrival_gives_the_same_bytes(
    simulated: tuple[RunningServer, SimulationResult], autumn: Lived, server: RunningServer
) -> None:
    """Shuffled, in batches of any size, repeated, compressed, with rollups between: every report is the same."""
    dice = random.Random(1)
    lines = dice.sample(autumn.lines, len(autumn.lines))
    for part in range(4):
        post_any_how(server, lines[part::4], dice)
        post_any_how(server, dice.sample(lines[: part + 1], 1), dice)
        server.rollup()
    for query in REPORTS:
        answers = [one.client.get("/report", params=query) for one in (simulated[0], server)]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["ETag"] == answers[1].headers["ETag"]
    for product in {reading.product_id for reading in autumn.readings}:
        query = {"product_id": product, "detail": "true"}
        assert len({one.client.get("/report", params=query).content for one in (simulated[0], server)}) == 1


def test_any_part_of_the_messages_gives_the_report_of_that_part(autumn: Lived, server: RunningServer) -> None:
    """However much of a fleet's word has come, and whatever is late: one rollup, and the report is of just that."""
    dice = random.Random(2)
    lines = dice.sample(autumn.lines[: len(autumn.lines) // 4], len(autumn.lines) // 4)
    edges = [0, 100, len(lines) // 2, len(lines) - 50, len(lines)]
    for start, end in pairwise(edges):
        post_any_how(server, lines[start:end], dice)
        server.rollup()
        assert (
            expected_report(readings_in(lines[:end]), milliseconds("2026-11-01")) == server.client.get("/report").json()
        )


def post_in_order(server: RunningServer, lines: list[bytes]) -> None:
    for start in range(0, len(lines), 1000):
        answer = server.post(b"".join(lines[start : start + 1000]), Content_Type="application/x-ndjson")
        assert answer.json()["status"] == "ok"


def post_any_how(server: RunningServer, lines: list[bytes], dice: random.Random) -> None:
    """As NDJSON or an array, plain or compressed, sometimes twice, a few or many at a time."""
    start = 0
    while start < len(lines):
        some = lines[start : start + dice.choice([1, 10, 500, 3000])]
        start += len(some)
        for _ in range(dice.choice([1, 1, 1, 2])):
            form: Callable[[list[bytes]], tuple[bytes, dict[str, str]]] = dice.choice([as_lines, as_array, as_gzip])
            body, headers = form(some)
            assert server.post(body, **headers).json()["status"] == "ok"


def as_lines(lines: list[bytes]) -> tuple[bytes, dict[str, str]]:
    return b"".join(lines), {"Content_Type": "application/x-ndjson"}


def as_array(lines: list[bytes]) -> tuple[bytes, dict[str, str]]:
    return b"[" + b",".join(lines) + b"]", {}


def as_gzip(lines: list[bytes]) -> tuple[bytes, dict[str, str]]:
    return gzip.compress(b"".join(lines), 1), {"Content_Type": "application/x-ndjson", "Content_Encoding": "gzip"}
