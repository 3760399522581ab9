"""The clock of a running server jumps, or the server is stopped for a while: nothing hangs, nothing is lost."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from itertools import permutations
from pathlib import Path

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.storage import open_store
from tests.figures import Figure
from tests.oracle import defined, told
from tests.path.conftest import WholeServer, wait_until
from tests.path.expected import expected_report
from tests.serving import message
from tests.talker import Talker, taken, talking

HANGS_S = 30
YEAR_1970_MS, YEAR_2038_MS = 3_600_000, 2_147_483_648_000 + DAY_MS
MINUTE_MS = 60_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    """The clock of the server, which this test sets."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()
        self.jump(0)

    def jump(self, offset_ms: int) -> None:
        """From now on, the server's clock is so far ahead; whoever looks meanwhile finds the one or the other."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(f"{offset_ms * 1_000_000:+031d}".encode())


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that servers started after this have."""
    file = tmp_path / "offset"
    made = Clock(file)
    monkeypatch.setenv("CLOCK_OFFSET_FILE", str(file))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1] / "jumping_clock"), *PATHS]))
    return made


PATHS = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def post(server: WholeServer, said: Reading) -> bool:
    """Whether the reading was taken; if not, then because of its time, by the server's clock."""
    value = {"code": "instant_power", "time": said.time_ms, "value": said.value}
    answer = server.post(message(said.device_id, value))
    if answer.is_success:
        return True
    assert answer.json()["type"] in ("/problems/bad-time", "/problems/too-old"), answer.text
    return False


def everything_answers(server: WholeServer) -> None:
    """No request is answered with a 5xx; the longest wait is the client's own."""
    for path in ("/livez", "/readyz", "/report", "/report?detail=true", "/devices", "/metrics", "/"):
        assert server.client.get(path).status_code < 500, path
    sent = server.client.post("/send", json={"device_id": "d1", "switch": True})
    assert sent.json() == {"status": "command sent"}


def jumps_change_nothing(server: WholeServer, clock: Clock, stay_s: float, jumps: list[int]) -> int:
    """Let the clock jump; at each place post what devices say, by their own right clocks. How many were taken."""
    kept: list[Reading] = []

    def talk(until_s: float) -> None:
        while time.monotonic() < until_s:
            number = len(kept)
            ago_ms = [0, 7 * MINUTE_MS, 3 * HOUR_MS, 20 * DAY_MS][number % 4]
            said = Reading(f"d{number % 5}", "p1", POWER, now_ms() - ago_ms, number % 1500.0)
            if post(server, said):
                kept.append(said)
            time.sleep(0.002)

    for offset_ms in jumps:
        clock.jump(offset_ms)
        talk(time.monotonic() + stay_s)
        everything_answers(server)
    clock.jump(0)
    before = len(kept)
    talk(time.monotonic() + stay_s)
    assert len(kept) > before + 10  # once the clock is right again, what devices say is taken again
    wait_until(lambda: server.metric("heatfleet_rollup_lag_seconds") == 0)
    assert server.stop() == 0
    with closing(open_store(server.store_url)) as store:
        as_of_ms = store.rollup(now_ms()).as_of_ms
        assert defined(kept, as_of_ms) == told(store.figures())
    return len(kept)


JUMPS_MS = {
    "+1 h": HOUR_MS,
    "-1 h": -HOUR_MS,
    "+1 day": DAY_MS,
    "-1 day": -DAY_MS,
    "1970": YEAR_1970_MS - now_ms(),
    "2038": YEAR_2038_MS - now_ms(),
}


def test_a_clock_that_jumps_changes_nothing(
    clock: Clock, start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """Forth and back by hours, days and decades: no 5xx, and each reading that was taken counts in its own hour."""
    server = start_whole_server(rollup_every_s=0.2, retention_days=30)
    count = jumps_change_nothing(server, clock, 0.3, [*JUMPS_MS.values()])
    figure("L3", f"jumps of the clock: {', '.join(JUMPS_MS)}", len(JUMPS_MS))
    figure("L3", "readings taken, each counted in the hour of its own time", count)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_clock_that_jumps_often_changes_nothing(
    clock: Clock, start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """The same in all orders of two, with some seconds at each place."""
    server = start_whole_server(rollup_every_s=1, retention_days=30)
    jumps = [one for pair in permutations(JUMPS_MS.values(), 2) for one in (*pair, 0)]
    count = jumps_change_nothing(server, clock, 2.0, jumps)
    figure("L3", f"jumps of the clock: {', '.join(JUMPS_MS)}, in all orders of two", len(jumps))
    figure("L3", "readings taken, each counted in the hour of its own time", count)


def stops_and_goes_on(server: WholeServer, stopped_s: float, figure: Figure) -> None:
    talkers = [Talker(f"d{number}", now_ms() - DAY_MS, stopped_s + HANGS_S) for number in range(20)]
    with talking(server, talkers):
        pids = [server.process.pid, *server.rollup_pids()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(stopped_s)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        before = [len(one.sent) for one in talkers]
        wait_until(lambda: all(len(one.sent) > count for one, count in zip(talkers, before, strict=True)))
        assert server.client.get("/readyz").is_success
    as_of_ms = server.rollup().as_of_ms
    assert expected_report(taken(talkers), as_of_ms) == server.client.get("/report").json()
    assert 0 == sum(one.cut_off for one in talkers)
    figure("L2", "stopped by SIGSTOP for (s)", stopped_s)
    figure("L2", "requests that were cut off when it went on", 0)
    figure("L2", "requests refused then, and taken later", sum(one.refused for one in talkers))


def test_a_server_that_is_stopped_for_a_while_goes_on(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """Who waited for an answer gets one: no deadline is held against those who could not be heard; nothing is lost."""
    stops_and_goes_on(start_whole_server(rollup_every_s=0.5), 3.0, figure)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_server_that_is_stopped_for_long_goes_on(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """The same for more than a minute, which is longer than a silent connection is kept."""
    stops_and_goes_on(start_whole_server(rollup_every_s=0.5), 75.0, figure)
