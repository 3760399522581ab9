"""The server and its rollup are killed again and again while a fleet posts; the report shows nothing of it."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import pytest

from heatfleet.simulator import FaultOptions, Progress, SimulationOptions, run, verify
from heatfleet.storage import open_store
from tests.oracle import defined, told
from tests.path.conftest import Lived, WholeServer, live, wait_until
from tests.path.expected import expected_report, milliseconds

WAIT_S = 60.0


class Misfortune:
    """Strikes each time the fleet has posted some more: a process dies by SIGKILL while the fleet goes on posting."""

    def __init__(self, at_messages: list[int], strikes: list[Callable[[], None]]) -> None:
        self._due = list(zip(at_messages, strikes, strict=True))
        self._thread = ThreadPoolExecutor(1)
        self._under_way: list[Future[None]] = []

    def __call__(self, progress: Progress) -> None:
        """Strike if it is time, beside the posts that are under way; they find out for themselves."""
        if self._due and progress.messages >= self._due[0][0]:
            self._under_way.append(self._thread.submit(self._due.pop(0)[1]))

    def is_over(self) -> bool:
        """Whether all has struck, and what was struck is up again."""
        self._thread.shutdown()
        for strike in self._under_way:
            strike.result()
        return not self._due


def kill_server(server: WholeServer) -> Callable[[], None]:
    def strike() -> None:
        server.kill()
        server.start()

    return strike


def kill_rollup(server: WholeServer) -> Callable[[], None]:
    def strike() -> None:
        wait_until(lambda: bool(server.rollup_pids()))
        for pid in server.rollup_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return strike


def survives(server: WholeServer, fleet: Lived, strikes: list[Callable[[], None]]) -> int:
    """The fleet posts and the report is the one of a quiet day; gives how often the fleet had to try again."""
    server.expect_errors = True  # the log says so when the rollup process dies
    step = len(fleet.lines) // (len(strikes) + 1)
    misfortune = Misfortune([step * (number + 1) for number in range(len(strikes))], strikes)

    async def post_and_verify() -> int:
        options = replace(fleet.options, url=server.base_url)
        result = await run(options, on_progress=misfortune, patience_s=WAIT_S)
        assert result.posted.refused == 0
        assert await asyncio.to_thread(misfortune.is_over)
        # Verified as soon as the server's own rollup has counted the last reading.
        assert (await verify(result.account, server.base_url, settle_s=WAIT_S)).exact
        return result.posted.retries

    retries = asyncio.run(post_and_verify())
    assert expected_report(fleet.readings, milliseconds("2026-11-01")) == server.client.get("/report").json()
    assert server.stop() == 0
    with closing(open_store(server.store_url, writable=False)) as store:
        now_ms = store.figures().as_of_ms
        assert defined(fleet.readings, now_ms) == told(store.figures())
        for device in sorted({reading.device_id for reading in fleet.readings})[:5]:
            own = [reading for reading in fleet.readings if reading.device_id == device]
            assert defined(own, now_ms) == told(store.device_figures(device))
    return retries


def fleet_of(devices: int, end: str) -> Lived:
    options = SimulationOptions(
        devices, milliseconds("2026-01-12"), milliseconds(end), faults=FaultOptions.all(), batch_size=20, connections=4
    )
    return live(options)


def test_kills_in_the_midst_of_posting_change_nothing(start_whole_server: Callable[..., WholeServer]) -> None:
    """Server and rollup, killed by turns and both at once, count each reading once in the end."""
    server = start_whole_server(rollup_every_s=0.1)
    on_server, on_rollup = kill_server(server), kill_rollup(server)

    def on_both() -> None:
        on_rollup()
        on_server()

    assert survives(server, fleet_of(20, "2026-01-13"), [on_server, on_rollup, on_both, on_rollup, on_server]) > 0


def test_rollups_beside_each_other_take_turns(start_whole_server: Callable[..., WholeServer]) -> None:
    """With three more rollups going on by hand, one of them killed, each reading still counts once."""
    server = start_whole_server(rollup_every_s=0.1)
    command = [sys.executable, "-W", "error", "-m", "heatfleet", "rollup", "--every", "0.1"]
    with ExitStack() as ending:
        beside = [ending.enter_context(subprocess.Popen(command, cwd=server.folder, env=server._env)) for _ in range(3)]
        try:
            survives(server, fleet_of(20, "2026-01-12T12:00"), [beside[0].kill, lambda: None])
        finally:
            for process in beside:
                process.terminate()

    assert [-signal.SIGKILL, 0, 0] == [process.returncode for process in beside]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_kills_change_nothing(start_whole_server: Callable[..., WholeServer]) -> None:
    """The same with a larger fleet and sixty strikes of chance."""
    server = start_whole_server(rollup_every_s=0.1)
    strikes = random.Random(3).choices([kill_server(server), kill_rollup(server)], k=60)

    survives(server, fleet_of(100, "2026-01-15"), strikes)
