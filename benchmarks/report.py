"""What it costs to ask: how long a report takes that somebody waits for, and what it takes from the devices.

Watches the way from figures in the store to JSON: the fleet's any day, its whole year by hour, and one device's day,
which is reckoned from readings when asked for. Reports of a fleet read sums by quarter, so they take as long for two
million devices as for a hundred; the history is a year long, and has as many readings as `--readings` says.
"""

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.history import History
from benchmarks.options import Options
from benchmarks.results import Result, Round, Unmeasurable, goal, median, ratio, spread
from benchmarks.rounds import under_load
from benchmarks.servers import Server, heatfleet, running
from benchmarks.single import CONNECTIONS
from benchmarks.usage import Usage, drop_caches, wait_for_quiet
from benchmarks.wrk import Load, post

READINGS = 10_000_000
ROUNDS = 3
REPORTS_PER_S = 10
ZONE = "tz=Europe/Paris"
DAY, YEAR, CSV, DEVICE = (
    "fleet, any day by hour",
    "fleet, all days by hour",
    "fleet, all days, detailed CSV",
    "one device, any day",
)
COLUMNS = (
    "report",
    "KiB",
    "p50, ms (least – most)",
    "p99, ms (least – most)",
    "first, ms",
    "server CPU, ms each",
)
Question = Callable[[], str]


def measure(options: Options) -> Result:
    """Each question many times in each round, one after the other over one connection; then ingest beside them."""
    days, asked, count = (20, 10, 1) if options.quick else (365, 100, ROUNDS)
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        folder = Path(name)
        history = History(folder, options.size(options.readings, READINGS, 100_000), days)
        questions = _questions(history)
        rounds: dict[str, list[Round]] = {question: [] for question in questions}
        for _ in range(count):
            wait_for_quiet(options.patience_s)
            for question, path in questions.items():
                first = _first(folder, path, drop=not options.quick)
                with running(heatfleet(), folder) as server:
                    rounds[question].append(_ask(server, path, asked) | first)
        seconds = 1 if options.quick else 5
        ingest: list[tuple[Round, Round]] = [
            _ingest(folder, [questions[one] for one in (DAY, YEAR, DEVICE)], seconds) for _ in range(count)
        ]
    alone, beside = ([one[place] for one in ingest] for place in (0, 1))
    return Result(
        title=f"report: {days} days of {history.fleet.devices:,} devices, {history.readings:,} readings",
        columns=COLUMNS,
        rows=[_row(question, of_question) for question, of_question in rounds.items()],
        rounds=rounds | {"ingest alone": alone, "ingest beside reports": beside},
        notes=[
            f"Rounds: {count} of {asked} requests; medians. Days of Europe/Paris; the client's own time is included.",
            _cold_note(rounds),
            (
                f"Ingest: {spread(alone, 'messages_per_s')} messages/s alone, one a POST, {CONNECTIONS} connections;"
                f" {spread(beside, 'messages_per_s')} beside {REPORTS_PER_S} reports a second."
            ),
            goal("ingest beside reports, share of alone", ratio(beside, alone), at_least=0.9),
        ],
    )


def _cold_note(rounds: Mapping[str, list[Round]]) -> str:
    dropped = all(one["dropped"] for of_question in rounds.values() for one in of_question)
    how = "after the kernel forgot all files" if dropped else "with files in memory: root alone may drop caches"
    return f"First: the first report that a fresh server answers, {how}."


def _questions(history: History) -> dict[str, Question]:
    chance = random.Random(1)

    def a_day() -> str:
        first = history.first + timedelta(days=chance.randrange(1, (history.today - history.first).days))
        return f"from={first}&to={first + timedelta(days=1)}"

    def a_device() -> str:
        return f"device_id={history.fleet.name(chance.randrange(history.fleet.devices))}"

    return {
        DAY: lambda: f"/report?{ZONE}&{a_day()}",
        YEAR: lambda: f"/report?{ZONE}",
        CSV: lambda: f"/report?{ZONE}&format=csv",
        DEVICE: lambda: f"/report?{ZONE}&{a_day()}&{a_device()}",
    }


def _first(folder: Path, path: Question, *, drop: bool) -> dict[str, float]:
    """The first answer after a start with nothing in memory, where we may see to that."""
    with running(heatfleet(), folder) as server:
        dropped = drop and drop_caches()
        return {"first_ms": _ask(server, path, 1)["p50_ms"], "dropped": dropped}


def _ask(server: Server, path: Question, times: int) -> dict[str, float]:
    waits_ms, size = [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        before = Usage.of(server.pid)
        for _ in range(times):
            began_s = time.perf_counter()
            size = _one_answer(connection, path())
            waits_ms.append((time.perf_counter() - began_s) * 1000)
        used = Usage.of(server.pid).since(before)
    p50_ms, p99_ms = np.percentile(waits_ms, [50, 99]).tolist()
    cpu_ms = (used.process_s + used.children_s) / times * 1000
    return {"kib": size / 1024, "p50_ms": p50_ms, "p99_ms": p99_ms, "cpu_ms": cpu_ms}


def _one_answer(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != http.client.OK or len(body) < 100:
        raise Unmeasurable(f"a report answered {answer.status}: {body[:200]!r}")
    return len(body)


def _ingest(folder: Path, questions: list[Question], seconds: float) -> tuple[Round, Round]:
    """Single messages without and with somebody who asks, one after the other on the same server."""
    with running(heatfleet(), folder) as server:
        way = heatfleet().single
        first_ms = time.time_ns() // 1_000_000 - 3_600_000

        def load(start_ms: int) -> Round:
            def posts() -> Load:
                return post(server.port, way, connections=CONNECTIONS, seconds=seconds, first_ms=start_ms)

            return under_load(server, posts, 1)[0]

        load(first_ms)  # to warm up
        alone = load(first_ms + 1_000_000)
        with _stream(server, questions):
            beside = load(first_ms + 2_000_000)
    return alone, beside


@contextmanager
def _stream(server: Server, questions: list[Question]) -> Iterator[None]:
    """Reports at a steady rate while the block lasts, one after the other, each kind in turn."""
    stop = threading.Event()

    def ask() -> None:
        next_s = time.monotonic()
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            for path in cycle(questions):
                next_s += 1 / REPORTS_PER_S
                if stop.wait(max(0.0, next_s - time.monotonic())):
                    return
                _one_answer(connection, path())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _row(name: str, rounds: list[Round]) -> list[str]:
    return [
        name,
        f"{median(rounds, 'kib'):,.1f}",
        spread(rounds, "p50_ms", ".1f"),
        spread(rounds, "p99_ms", ".1f"),
        spread(rounds, "first_ms", ".1f"),
        f"{median(rounds, 'cpu_ms'):.1f}",
    ]
