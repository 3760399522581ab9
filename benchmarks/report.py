"""What it costs to ask: how long a report takes that somebody waits for.

Watches the way from figures in the store to JSON: the fleet's any day, its whole year by hour, and one device's day,
which is reckoned from readings when asked for. Reports of a fleet read sums by quarter, so they take as long for two
million devices as for twenty; the history is of a small fleet, and a year long.
"""

import http.client
import random
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.fleet import MadeUpFleet
from benchmarks.results import Result, Round, Unmeasurable, median, spread
from benchmarks.servers import Server, heatfleet, running
from benchmarks.store_files import fill_journal, run_rollup
from benchmarks.usage import Usage, wait_for_quiet
from heatfleet.domain.slots import DAY_MS, SLOT_MS

ROUNDS = 5
DEVICES = 20
DENSE_MS = DAY_MS // 250
"""Twice in this time a device of the last days speaks: 500 messages a day."""
ZONE = "tz=Europe/Paris"
COLUMNS = ("report", "KiB", "p50, ms (least – most)", "p99, ms (least – most)", "server CPU, ms each")


def measure(*, quick: bool) -> Result:
    """Each question many times in each round, one after the other over one connection."""
    days, asked, count = (20, 10, 1) if quick else (365, 200, ROUNDS)
    today = datetime.now(UTC).date()
    first = today - timedelta(days=days)
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        folder = Path(name)
        fleet = MadeUpFleet(DEVICES)
        readings = _fill(folder, fleet, first, today)
        questions = _questions(fleet, first, today)
        rounds: dict[str, list[Round]] = {question: [] for question in questions}
        with running(heatfleet(), folder) as server:
            for _ in range(count):
                wait_for_quiet(0 if quick else 30)
                for question, path in questions.items():
                    rounds[question].append(_ask(server, path, asked))
    return Result(
        title=f"report: {days} days of {DEVICES} devices, {readings:,} readings",
        columns=COLUMNS,
        rows=[_row(question, of_question) for question, of_question in rounds.items()],
        rounds=rounds,
        notes=[
            f"Rounds: {count} of {asked} requests; medians. Days of Europe/Paris; the client's own time is included."
        ],
    )


def _fill(folder: Path, fleet: MadeUpFleet, first: date, today: date) -> int:
    """A year with a word of each device every quarter of an hour, and two days as dense as real ones at its end."""
    start_ms, end_ms = _midnight_ms(first), _midnight_ms(today)
    dense_ms = end_ms - 2 * DAY_MS
    count = fill_journal(folder, fleet.steady(start_ms, dense_ms, SLOT_MS), a_commit=5_000)
    count += fill_journal(folder, fleet.steady(dense_ms, end_ms, DENSE_MS), a_commit=5_000)
    if run_rollup(folder)["readings"] != count:
        raise Unmeasurable(f"the rollup did not take all of {count} readings")
    return count


def _questions(fleet: MadeUpFleet, first: date, today: date) -> dict[str, Callable[[], str]]:
    chance = random.Random(1)

    def a_day() -> str:
        return _range(first + timedelta(days=chance.randrange(1, (today - first).days)), 1)

    def a_device() -> str:
        return f"device_id={chance.choice(fleet.device_ids)}"

    return {
        "fleet, any day by hour": lambda: f"/report?{ZONE}&{a_day()}",
        "fleet, all days by hour": lambda: f"/report?{ZONE}",
        "fleet, all days by hour, detailed CSV": lambda: f"/report?{ZONE}&format=csv",
        "one device, any day": lambda: f"/report?{ZONE}&{a_day()}&{a_device()}",
        "one device, a day of 500 messages": lambda: (
            f"/report?{ZONE}&{_range(today - timedelta(days=1), 1)}&{a_device()}"
        ),
    }


def _ask(server: Server, path: Callable[[], str], times: int) -> Round:
    waits_ms, size = [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        before = Usage.of(server.pid)
        for _ in range(times):
            began_s = time.perf_counter()
            connection.request("GET", path())
            answer = connection.getresponse()
            body = answer.read()
            waits_ms.append((time.perf_counter() - began_s) * 1000)
            if answer.status != http.client.OK or len(body) < 100:
                raise Unmeasurable(f"a report answered {answer.status}: {body[:200]!r}")
            size = len(body)
        used = Usage.of(server.pid).since(before)
    p50_ms, p99_ms = np.percentile(waits_ms, [50, 99]).tolist()
    return {"kib": size / 1024, "p50_ms": p50_ms, "p99_ms": p99_ms, "cpu_ms": used.process_s / times * 1000}


def _row(name: str, rounds: list[Round]) -> list[str]:
    return [
        name,
        f"{median(rounds, 'kib'):,.1f}",
        spread(rounds, "p50_ms", ".1f"),
        spread(rounds, "p99_ms", ".1f"),
        f"{median(rounds, 'cpu_ms'):.1f}",
    ]


def _range(day: date, days: int) -> str:
    return f"from={day}&to={day + timedelta(days=days)}"


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
