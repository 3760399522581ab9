"""Files in which bytes were changed or cut off: refused, right all the same, or found by `heatfleet db check`.

What nothing can find is said in docs/howto/back-up-and-restore.md: orders, from which nothing is reckoned, and the last
commits of a log that is cut off, which SQLite takes for never made.
"""

import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import httpx2
import pytest

from heatfleet.domain.commands import Command
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import HeatfleetError, StoreUnavailable
from heatfleet.storage import back_up, check_files, open_ledger, open_store
from heatfleet.storage.base import Ages, DeviceFilter
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import lost_commits
from tests.contract.ledgers import accept, settle
from tests.keys import BY_TEST
from tests.oracle import defined, told
from tests.path.expected import expected_report
from tests.serving import clean_environment, free_port, message

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = START_MS + 3 * DAY_MS
DEVICES = ("d1", "d2", "d3")
SAID = [
    Reading(device, "p" if device < "d3" else "q", code, START_MS + quarter * 900_000, float(quarter * 7 % 90))
    for quarter in range(3 * 96)
    for device in DEVICES
    for code in (POWER, TEMPERATURE)
]
LATE = Reading("d2", "p", POWER, START_MS + DAY_MS + 100_000, 5.0)

_log = logging.getLogger(__name__)


def fill(folder: Path) -> None:
    """An archived day, two in day files, and at the end some in runs and some in the journal; then die."""
    url = f"sqlite:///{folder}/heatfleet.db"
    child = os.fork()
    if child == 0:
        store = open_store(url, ages=Ages(archive_after_days=1))
        store.append([Block.of(SAID[:-120])], NOW_MS)
        store.rollup(NOW_MS - 6 * HOUR_MS)
        while store.make_room():
            pass
        for first in range(-120, 0, 20):
            store.append([Block.of(SAID[first : first + 20 or None])], NOW_MS)
            if first < -60:
                store.rollup(NOW_MS - 4 * HOUR_MS)
        ledger = open_ledger(url)
        for number in range(5):
            order = Command(f"order-{number}", "d1", "p", switch=True, issued_at_ms=NOW_MS, expires_at_ms=NOW_MS + 1)
            accept(ledger, order, by=BY_TEST, idempotency_key=f"key-{number}")
            settle(ledger, order.command_id, "published", NOW_MS)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes while these stores are checked, so that what is unknown stays so."""
    monkeypatch.setattr(lost_commits, "_LOOK_AGAIN_S", 0.0)


@pytest.fixture(scope="module", params=["killed", "copied"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a kill left it, most of it in logs; and a copy of it, which has none."""
    folder = tmp_path_factory.mktemp("sound")
    fill(folder)
    if request.param == "killed":
        return folder
    back_up(f"sqlite:///{folder}/heatfleet.db", folder / "copy")
    return folder / "copy"


def damage(folder: Path, dice: random.Random) -> str:
    """Flip a bit, or cut off the rest, at a place of chance in one of the files; tells which."""
    files = [
        path
        for path in sorted(folder.rglob("heatfleet.db*")) + sorted((folder / "heatfleet.db.d").iterdir())
        if path.is_file() and not path.name.endswith(("-shm", ".lock")) and path.stat().st_size
    ]
    path = dice.choice(files)
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    if cut := dice.random() < 0.2:
        del content[place:]
    else:
        content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return f"{path.name} {'cut at' if cut else 'flipped at'} {place}"


def found(url: str, *, figures: bool = False) -> bool:
    """Whether a check finds something; whatever is in the files, it comes to its end."""
    try:
        return not all(check.sound for check in check_files(url, figures=figures))
    except HeatfleetError:
        return True


def answers(url: str) -> list[bool]:
    """Whether each answer about readings is that of the definition, also after a late reading."""
    with closing(open_store(url)) as store, closing(open_ledger(url)) as ledger:
        store.status(NOW_MS)
        ledger.command("order-3", NOW_MS)
        ledger.last_order("d1", NOW_MS)
        store.rollup(NOW_MS)
        right = [defined(SAID, NOW_MS) == told(store.figures())]
        store.append([Block.of([LATE])], NOW_MS)
        store.rollup(NOW_MS)
        store.devices(DeviceFilter(), now_ms=NOW_MS)
        everything = [*SAID, LATE]
        right.append(defined(everything, NOW_MS) == told(store.figures()))
        for device in DEVICES:
            of_device = [one for one in everything if one.device_id == device]
            right.append(defined(of_device, NOW_MS) == told(store.device_figures(device)))
        return right


def lacks_the_last(url: str) -> bool:
    """Whether all that is wrong is that the journal's last commits were never made."""
    with closing(open_store(url, writable=False)) as store:
        figures = told(store.figures())
    return any(defined([*SAID[: len(SAID) - lost], LATE], NOW_MS) == figures for lost in range(20, 121, 20))


def test_a_damaged_log_is_found(tmp_path: Path) -> None:
    """Commits behind a flipped bit are no commits for SQLite, without a word of it; a check tells of them."""
    fill(tmp_path)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    assert not found(url)
    for log in (tmp_path / "heatfleet.db.d").glob("[jl]*.db-wal"):
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 1
        log.write_bytes(content)
    told_of = {Path(check.name).name: check.found for check in check_files(url)}

    for name in ("journal-000000000001.db", "ledger.db"):
        assert re.match(r"\d commits in its -wal file are lost", told_of[name])
    assert "-wal" not in told_of["heatfleet.db"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_damage_is_refused_or_harmless_or_found(count: int, sound: Path, tmp_path: Path) -> None:
    """No answer about readings is wrong in silence: an error says so, or a check of the figures finds it."""
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    outcomes: dict[str, int] = {}
    for number in range(count):
        folder = tmp_path / str(number)
        shutil.copytree(sound, folder)
        url = f"sqlite:///{folder}/heatfleet.db"
        what = damage(folder, dice)
        _log.warning("seed %d, damage %d: %s", seed, number, what)
        told_before = found(url)
        shutil.copytree(folder, tmp_path / "looked-at")
        try:
            right = all(answers(url))
            outcome = "right" if right else "wrong"
        except HeatfleetError:
            outcome = "refused"
        if outcome == "wrong" and not told_before:
            looked_at = f"sqlite:///{tmp_path}/looked-at/heatfleet.db"
            assert found(looked_at, figures=True) or (
                what.startswith("journal") and "-wal" in what and lacks_the_last(url)
            )
        outcome += ", found" if told_before else ""
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "looked-at")
    _log.warning("%s", outcomes)
    assert sum(outcomes.values()) == count


def test_what_sqlite_lets_pass_is_said_too(tmp_path: Path) -> None:
    """A text where a number belongs is no defect for SQLite: asked for, it is a clear error, and a check finds it."""
    fill(tmp_path)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    with closing(apsw.Connection(str(tmp_path / "heatfleet.db.d" / "readings-2024-11-27.db"))) as connection:
        connection.execute("UPDATE h05 SET p = 'x'")
    assert found(url)
    with closing(open_store(url)) as store:
        with pytest.raises(StoreUnavailable, match=r"cannot be understood \(\w+Error in columns.py, .*db check"):
            store.device_figures("d1")
        assert store.rollup(NOW_MS).as_of_ms == NOW_MS


def garble(path: Path, at: float, size: int = 4_000) -> None:
    content = bytearray(path.read_bytes())
    place = int(len(content) * at)
    content[place : place + size] = random.Random(1).randbytes(len(content[place : place + size]))
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("heatfleet.db", lambda path: garble(path, 0.76)),
        ("heatfleet.db", lambda path: path.write_bytes(path.read_bytes()[:20_000])),
        ("heatfleet.db.d/journal-000000000001.db", lambda path: garble(path, 0.6, 60_000)),
        ("heatfleet.db.d/readings-2024-11-27.db", lambda path: path.write_bytes(path.read_bytes()[:50_000])),
        ("heatfleet.db.d/readings-2024-11-26.parquet", lambda path: garble(path, 0.4, 500)),
        ("heatfleet.db.d/ledger.db", lambda path: garble(path, 0.4)),
    ],
    ids=["main-garbled", "main-cut", "journal-garbled", "day-cut", "archive-garbled", "ledger-garbled"],
)
def test_a_server_over_damaged_files_says_so(
    name: str, spoil: Callable[[Path], object], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It does not start, and names the file and the backup; or it answers rightly, or with 503; never a traceback."""
    fill(tmp_path)
    folder = tmp_path / "copy"
    back_up(f"sqlite:///{tmp_path}/heatfleet.db", folder)
    spoil(folder / name)
    url = f"sqlite:///{folder}/heatfleet.db"
    assert found(url)

    port, log = free_port(), folder / "server.log"
    environment = clean_environment() | {"HEATFLEET_ROLLUP_EVERY_S": "0.5"}
    command = [sys.executable, "-m", "heatfleet", "serve", "--store", url, "--port", str(port)]
    with log.open("wb") as stderr, subprocess.Popen(command, cwd=folder, env=environment, stderr=stderr) as server:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
                ask(server, client)
        finally:
            server.terminate()
    said = log.read_text()

    assert "Traceback" not in said
    assert server.returncode in (0, 75, 78)
    assert server.returncode == 0 or "backup" in said


def ask(server: subprocess.Popen[bytes], client: httpx2.Client) -> None:
    """Ask until the server is up, then for all there is."""
    give_up_s = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < give_up_s:
        try:
            client.get("/livez")
            break
        except httpx2.TransportError:
            time.sleep(0.05)
    if server.poll() is not None:
        return
    said = {"code": "instant_power", "time": LATE.time_ms, "value": LATE.value}
    told = {**message("d2", said), "bizData": {"devId": "d2", "productId": "p", "properties": [said]}}
    assert client.post("/message", json=told).status_code in (200, 503)
    time.sleep(1)  # some rollups
    for path in (
        "/report",
        "/report?device_id=d2",
        "/devices",
        "/devices/d2",
        "/commands/order-3",
        "/readyz",
        "/metrics",
    ):
        answer = client.get(path)
        assert answer.status_code in (200, 404, 503)
        if path == "/report" and answer.is_success:
            reports = [expected_report(kept, NOW_MS) for kept in (SAID, [*SAID, LATE], SAID[:-60], [*SAID[:-60], LATE])]
            days = [{day: hours for day, hours in report.items() if day < "2024-11-28"} for report in reports]
            assert {day: hours for day, hours in answer.json().items() if day < "2024-11-28"} in days
