"""A day in short: load, rollups, reports, orders and kills at once; memory, files and logs stay as they are.

It lasts ten minutes, or as many seconds as ``SOAK_S`` says; the devices' own day has 24 hours all the same.
"""

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from benchmarks.usage import resident_mib
from heatfleet.domain.slots import DAY_MS
from tests.figures import Figure
from tests.kept import damage_in, kept_readings
from tests.path.conftest import WholeServer, wait_until
from tests.path.expected import expected_report
from tests.talker import Talker, taken, talking

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
TALKERS = 20
PAUSE_S = 0.05
HANGS_S = 60
KILLS = 6
MIB = 1024 * 1024


@dataclass
class Beside:
    """What is asked of the server beside the messages, again and again; while it is down, nobody answers."""

    server: WholeServer
    answered: int = 0
    down: int = 0
    wrong: list[str] = field(default_factory=list)

    def ask(self, end: threading.Event) -> None:
        """Reports, states, orders, figures of the server itself."""
        place = 0
        with httpx2.Client(base_url=self.server.base_url, timeout=HANGS_S, trust_env=False) as client:
            while not end.wait(0.1):
                place += 1
                try:
                    answers = [client.post("/send", json={"device_id": f"d{place % TALKERS}", "switch": place % 2 > 0})]
                    answers += [client.get(path) for path in ("/report?detail=true", "/devices", "/metrics")]
                except httpx2.TransportError:
                    self.down += 1
                    continue
                self.answered += len(answers)
                self.wrong += [one.text for one in answers if one.status_code != 200]


@contextmanager
def asking(beside: Beside) -> Iterator[None]:
    """Ask within."""
    end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(beside.ask, end)
        try:
            yield
        finally:
            end.set()
    asked.result()


@dataclass
class Look:
    """How much the server and its rollup hold at one moment."""

    at_s: float
    server_mib: float
    rollup_mib: float
    open_files: int
    logs_mib: float

    @classmethod
    def at(cls, server: WholeServer) -> "Look":
        """Now."""
        folder = server.store_path.parent
        pids = [server.process.pid, *server.rollup_pids()]
        sizes = []
        for log in (*folder.glob("*-wal"), *folder.glob("*/*-wal")):
            with suppress(FileNotFoundError):
                sizes.append(log.stat().st_size)
        return cls(
            time.monotonic(),
            resident_mib(pids[0]),
            sum(map(resident_mib, pids[1:])),
            sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
            sum(sizes) / MIB,
        )


def grown(looks: list[Look], what: str) -> float:
    """By how much the last fifth of the looks is above the first; the medians of both."""
    fifth = max(1, len(looks) // 5)
    values: list[float] = [getattr(look, what) for look in looks]
    return statistics.median(values[-fifth:]) - statistics.median(values[:fifth])


def killed(server: WholeServer, number: int) -> None:
    """The server, or its rollup, or both at once."""
    if number % 3:
        wait_until(lambda: bool(server.rollup_pids()))
        for pid in server.rollup_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if number % 3 != 1:
        server.kill()
        server.start()


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_a_day_in_short(start_whole_server: Callable[..., WholeServer], figure: Figure) -> None:
    """First with kills, then without: nothing lost, nothing counted twice, and nothing that grows."""
    lasts_s = float(os.environ.get("SOAK_S", "600"))
    server = start_whole_server(rollup_every_s=1)
    server.expect_errors = True  # the log tells of killed rollups
    step_ms = round(DAY_MS * PAUSE_S / lasts_s)
    talkers = [Talker(f"d{n}", START_MS, HANGS_S, pause_s=PAUSE_S, step_ms=step_ms) for n in range(TALKERS)]
    beside = Beside(server)
    looks: list[Look] = []
    with talking(server, talkers), asking(beside):
        for number in range(KILLS):
            time.sleep(0.3 * lasts_s / KILLS)
            killed(server, number)
        time.sleep(0.2 * lasts_s)  # to get warm again
        until_s = time.monotonic() + 0.5 * lasts_s
        while time.monotonic() < until_s:
            looks.append(Look.at(server))
            time.sleep(1)
    now_ms = server.rollup().as_of_ms
    said = taken(talkers)
    assert [] == beside.wrong
    assert expected_report(said, now_ms) == server.client.get("/report").json()
    assert server.stop() == 0
    assert set(said) == kept_readings(server.store_path)
    assert [] == damage_in(server.store_path)
    for what, may_grow in (("server_mib", 16), ("rollup_mib", 16), ("open_files", 8)):
        assert grown(looks, what) < may_grow, what
    assert max(look.logs_mib for look in looks) < 64
    figure("D13", "a day in so many seconds", lasts_s)
    figure("D13", "messages, all kept and counted once", len(said))
    figure("D13", "kills of server, rollup or both", KILLS)
    figure("D13", "reports, orders and so on answered beside", beside.answered)
    figure("D13", "memory of the server (MiB, at the end)", looks[-1].server_mib)
    figure("D13", "memory of the server, grown in the last half (MiB)", grown(looks, "server_mib"))
    figure("D13", "memory of the rollup (MiB, at the end)", looks[-1].rollup_mib)
    figure("D13", "memory of the rollup, grown in the last half (MiB)", grown(looks, "rollup_mib"))
    figure("D13", "open files, first and last", f"{looks[0].open_files}, {looks[-1].open_files}")
    figure("D13", "write-ahead logs (MiB, most)", max(look.logs_mib for look in looks))
