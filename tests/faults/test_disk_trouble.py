"""A disk that is full, that answers with errors, or that may not be written: said clearly, and made good by itself."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import StoreUnavailable
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests.figures import Figure
from tests.oracle import HOLD_MS, defined, told
from tests.serving import RunningServer, clean_environment, free_port, message, ndjson

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
DISK_BYTES = 4 * 1024 * 1024
BATCH = 200
CLIENTS = 10
BACK_S = 30
"""Long after room came back: the promise is 5 s, and it is measured."""


def mount(folder: Path, *options: str) -> None:
    """Mount a small disk of its own there, or skip the test where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={DISK_BYTES}", *options)), "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few thousand readings."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount(folder)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder nobody may write to; root may write everywhere but to a disk that is mounted so."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
    else:
        mount(folder, "ro")
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def batch(number: int) -> list[Reading]:
    """Readings that no other batch has."""
    first = number * BATCH
    return [
        Reading(f"d{n % 7}", "p1", POWER, START_MS + n * 1000, float(n % 1500)) for n in range(first, first + BATCH)
    ]


def body(readings: list[Reading]) -> bytes:
    return ndjson(
        *(
            message(one.device_id, {"code": "instant_power", "time": one.time_ms, "value": one.value})
            for one in readings
        )
    )


def post(server: RunningServer, number: int, problem: str) -> bool:
    """Whether the batch was taken; if not, the answer says that it may be tried again."""
    answer = server.post(body(batch(number)), Content_Type="application/x-ndjson")
    if answer.status_code == 200:
        assert answer.json() == {"status": "ok", "inserted": BATCH}
        return True

    assert 503 == answer.status_code
    assert answer.json()["type"] == f"/problems/{problem}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert str(server.store_path) not in answer.text
    return False


def trouble_comes_and_goes(
    server: RunningServer, begin: Callable[[], object], end: Callable[[], object], *, problem: str, cycles: int
) -> float:
    """Post until the disk takes no more; after the trouble the same is taken, and nothing is lost or stored twice.

    Gives the longest time from the end of the trouble to the first batch that is taken.
    """
    server.expect_errors = True  # the log says each time that the disk takes no more
    back_s = 0.0
    number = 0
    assert post(server, number, problem)
    for _ in range(cycles):
        begin()
        number = next(later for later in range(number + 1, number + 2000) if not post(server, later, problem))
        with ThreadPoolExecutor(CLIENTS) as clients:
            refused = clients.map(lambda _, again=number: post(server, again, problem), range(3 * CLIENTS))
            assert not any(refused)
        assert server.client.get("/livez").is_success
        assert server.client.get("/report").is_success
        assert "/problems/not-found" == server.client.get("/devices/d0").json()["type"]
        ready = server.client.get("/readyz")
        assert (503, "unavailable") == (ready.status_code, ready.json()["status"])
        assert ready.json()["reasons"]
        assert 0 == server.metric("heatfleet_queue_readings")
        end()
        began_s = time.monotonic()
        while not post(server, number, problem):
            assert time.monotonic() - began_s < BACK_S
            time.sleep(0.02)
        back_s = max(back_s, time.monotonic() - began_s)
        assert server.client.get("/readyz").is_success
    assert server.stop() == 0
    with closing(open_store(server.store_url, hold_ms=HOLD_MS)) as store:
        now_ms = START_MS + 365 * 24 * 3_600_000
        store.rollup(now_ms)
        everything = [reading for one in range(number + 1) for reading in batch(one)]
        assert defined(everything, now_ms) == told(store.figures())
    lines = [line for line in server.log() if line["level"] in ("error", "warning")]
    assert ["readings cannot be stored", "readings are stored again"] * cycles == [line["event"] for line in lines]
    return back_s


def fill(filler: Path) -> None:
    """Leave no room on the disk that the file is on."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_answered_with_503_until_there_is_room(
    start_server: Callable[..., RunningServer], small_disk: Path, figure: Figure
) -> None:
    """When the disk is full, readings are refused, not lost; once there is room they are taken without a restart."""
    filler = small_disk / "filler"
    server = start_server(store=f"sqlite:///{small_disk}/heatfleet.db")
    server.store_path = small_disk / "heatfleet.db"
    server.store_url = f"sqlite:///{server.store_path}"

    back_s = trouble_comes_and_goes(server, lambda: fill(filler), filler.unlink, problem="storage-full", cycles=5)
    figure("D4", "times that the disk was full", 5)
    figure("D4", "readings taken again after room came back (s, longest)", back_s)


def test_a_disk_that_answers_with_errors_is_answered_with_503_while_it_does(server: RunningServer) -> None:
    """The same with a disk that fails to write, here by a limit on the size of the process's files."""
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (300_000, limits[1]))

    def lift() -> None:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)

    trouble_comes_and_goes(server, limit, lift, problem="store-unavailable", cycles=2)


def test_a_rollup_on_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """A rollup that finds no room says so; the figures of before stay, and the next one with room makes all good."""
    url = f"sqlite:///{small_disk}/heatfleet.db"
    now_ms = START_MS + 365 * 24 * 3_600_000
    said = batch(0)
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], now_ms)
        store.rollup(now_ms)
        before = told(store.figures())
        for number in range(1, 40):
            store.append([Block.of(batch(number))], now_ms)
            said += batch(number)
    filler = small_disk / "filler"
    fill(filler)
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        with pytest.raises(StoreUnavailable):
            store.rollup(now_ms)
        assert before == told(store.figures())
        filler.unlink()
        store.rollup(now_ms)

        assert defined(said, now_ms) == told(store.figures())


def test_a_server_on_a_full_disk_says_so_and_starts_once_there_is_room(small_disk: Path) -> None:
    """With a new store and with an old one: one line, and exit code 75, which means that trying again may help."""
    url = f"sqlite:///{small_disk}/heatfleet.db"
    filler = small_disk / "filler"
    serve = [sys.executable, "-m", "heatfleet", "serve", "--port", str(free_port()), "--store", url]
    for _ in range(2):
        fill(filler)
        ended = subprocess.run(
            serve, cwd=small_disk, env=clean_environment(), timeout=60, text=True, capture_output=True, check=False
        )
        filler.unlink()

        assert ended.returncode == 75
        assert "the disk is full" in ended.stderr
        assert "Traceback" not in ended.stderr
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            store.append([Block.of(batch(0))], START_MS + 365 * 24 * 3_600_000)


@pytest.mark.parametrize("command", [["serve", "--port"], ["db", "init"]], ids=" ".join)
def test_a_folder_that_may_not_be_written_is_named(command: list[str], read_only_folder: Path, tmp_path: Path) -> None:
    """The command ends at once, with one line that names the place and what to look for."""
    port = [str(free_port())] if "--port" in command else []
    ended = subprocess.run(
        [sys.executable, "-m", "heatfleet", *command, *port, "--store", f"sqlite:///{read_only_folder}/heatfleet.db"],
        cwd=tmp_path, env=clean_environment(), timeout=60, text=True, capture_output=True, check=False,
    )  # fmt: skip

    assert ended.returncode in (75, 78)
    assert str(read_only_folder) in ended.stderr
    assert "permissions" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_is_not_there_is_made_by_a_server_only(tmp_path: Path) -> None:
    """Who only looks is told which command makes a database; making it makes its folder too."""
    store = ["--store", f"sqlite:///{tmp_path}/deep/down/heatfleet.db"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "heatfleet", *arguments, *store],
            cwd=tmp_path, env=clean_environment(), timeout=60, text=True, capture_output=True, check=False,
        )  # fmt: skip

    looked = run("rollup")

    assert looked.returncode == 78
    assert "heatfleet db init" in looked.stderr
    assert not (tmp_path / "deep").exists()
    assert run("db", "init").returncode == 0
    assert run("rollup").returncode == 0
