"""The whole server, when the kernel answers its n-th write or sync with an error: `strace` plays the broken disk."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from tests.figures import Figure
from tests.kept import damage_in, kept_readings
from tests.oracle import HOLD_MS, defined, told
from tests.serving import clean_environment, free_port, message

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
LATER_MS = START_MS + 30 * 24 * 3_600_000
MESSAGES = 30
HANGS_S = 60
NUMBERS = [*range(1, 21), *range(30, 201, 10)]


def start(folder: Path, port: int, inject: str) -> subprocess.Popen[str]:
    """The server, to which each n-th call of a thread fails once."""
    calls = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync,fsync"]
    serve = [sys.executable, "-m", "heatfleet", "serve", "--port", str(port)]
    return subprocess.Popen(
        [*calls, "-e", f"inject={inject}", *serve, "--store", f"sqlite:///{folder}/heatfleet.db"],
        cwd=folder, env=clean_environment() | {"HEATFLEET_ROLLUP_EVERY_S": "0.3"}, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


def answers(server: subprocess.Popen[str], client: httpx2.Client, said: Reading) -> Iterator[int]:
    """What is answered to one message, again and again until it is taken or the server is gone."""
    value = {"code": "instant_power", "time": said.time_ms, "value": said.value}
    while server.poll() is None:
        try:
            answer = client.post("/message", json=message(said.device_id, value))
        except httpx2.TransportError:  # not yet there, or just gone
            time.sleep(0.02)
            continue
        yield answer.status_code
        if answer.is_success:
            return
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1


def survives(folder: Path, inject: str) -> str:
    """What became of the server: all that it answered for is kept, and whatever it said, it said in clear words."""
    port = free_port()
    server = start(folder, port, inject)
    taken: list[Reading] = []
    refused = 0
    began_s = time.monotonic()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_S, trust_env=False) as client:
        for place in range(MESSAGES):
            said = Reading("d", "p1", POWER, START_MS + place * 1000, float(place))
            for status in answers(server, client, said):
                assert time.monotonic() - began_s < HANGS_S
                refused += status == 503
                taken += [said] if status == 200 else []
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    _, log = server.communicate(timeout=HANGS_S)
    if not taken:
        assert server.returncode in (75, 78), log
        assert "disk" in log
        assert "Traceback" not in log
    with closing(open_store(f"sqlite:///{folder}/heatfleet.db", hold_ms=HOLD_MS)) as store:
        store.rollup(LATER_MS)
        assert set(taken) <= kept_readings(folder / "heatfleet.db")
        assert defined(kept_readings(folder / "heatfleet.db"), LATER_MS) == told(store.figures())
    assert [] == damage_in(folder / "heatfleet.db")
    return "did not start" if not taken else "refused for a while" if refused else "nobody noticed"


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("call", ["pwrite64:error=EIO", "pwrite64:error=ENOSPC", "fdatasync:error=EIO"])
def test_a_server_survives_any_failing_call(call: str, tmp_path: Path, figure: Figure) -> None:
    """It does not start, with clear words, or refuses for a while and goes on; it never hangs, and keeps its word."""
    fates = []
    for number in NUMBERS:
        folder = tmp_path / str(number)
        folder.mkdir()
        fates.append(survives(folder, f"{call}:when={number}"))
    figure("D5", f"server with {call} at the n-th, for so many n up to 200", len(NUMBERS))
    for fate in sorted(set(fates)):
        figure("D5", f"server with {call}: {fate}", fates.count(fate))
