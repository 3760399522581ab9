"""A backup that is cut off, hindered or overtaken is a whole store of one instant, or it is not there."""

import logging
import os
import random
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import IO

import apsw
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import back_up, check_files, open_ledger, open_store
from heatfleet.storage.base import Ages
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import backup
from heatfleet.storage.sqlite.connect import exclusive
from tests.faults.test_disk_trouble import DISK_BYTES, small_disk
from tests.oracle import defined, told

__all__ = ["small_disk"]  # a fixture of the tests beside these
START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = START_MS + 8 * DAY_MS

_log = logging.getLogger(__name__)


def a_history() -> list[Reading]:
    """Two devices over eight days."""
    return [
        Reading(device, "p", code, START_MS + hour * 3_600_000, float(hour % 90))
        for hour in range(8 * 24)
        for device in "ab"
        for code in (POWER, TEMPERATURE)
    ]


def expect_sound(url: str, *, figures: bool = False) -> None:
    assert not [check for check in check_files(url, figures=figures) if not check.sound]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with figures, days, archives and a ledger; the last day's readings wait in the journal."""
    address = f"sqlite:///{tmp_path}/heatfleet.db"
    said = a_history()
    with closing(open_store(address, ages=Ages(archive_after_days=3))) as store:
        store.append([Block.of(said[:-96])], NOW_MS)
        store.rollup(NOW_MS - DAY_MS)
        while store.make_room():
            pass
        store.append([Block.of(said[-96:])], NOW_MS)
    open_ledger(address).close()
    return address


def test_what_happens_while_files_are_copied_is_not_in_the_copy(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings, rollups, archives and days removed between two files change nothing: all are of one instant."""
    copy = backup._copy
    changes = 0

    def change_and_copy(source: Path, stream: apsw.Connection | IO[bytes], target: Path) -> None:
        nonlocal changes
        with closing(open_store(url, ages=Ages(retention_days=4, archive_after_days=2))) as store:
            late = Reading("a", "p", POWER, NOW_MS - 4 * DAY_MS + changes * 90_000, 1.0)
            new = Reading(f"new-{changes}", "p", POWER, NOW_MS, 1.0)
            store.append([Block.of([late, new])], NOW_MS)
            store.rollup(NOW_MS + 1_000)
            while store.make_room():
                pass
        changes += 1
        copy(source, stream, target)

    monkeypatch.setattr(backup, "_copy", change_and_copy)
    done = back_up(url, tmp_path / "copy")

    assert len(done.files) == changes > 8
    copied = f"sqlite:///{done.main}"
    expect_sound(copied, figures=True)
    with closing(open_store(copied)) as store:
        store.rollup(NOW_MS)
        assert defined(a_history(), NOW_MS) == told(store.figures())
        assert store.status(NOW_MS).devices == 2
        later = [
            Reading(device, "p", POWER, NOW_MS + 5, 7.0) for device in "ab"
        ]  # their rows have numbers of their own
        store.append([Block.of(later)], NOW_MS)
        store.rollup(NOW_MS + DAY_MS)
        assert defined([*a_history(), *later], NOW_MS + DAY_MS) == told(store.figures())


@pytest.mark.slow
@pytest.mark.parametrize("kills", [25, pytest.param(400, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_a_backup_that_is_killed_is_whole_or_not_there(
    kills: int, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any moment, it leaves no folder of its name that is not whole; store and next backup do not mind."""
    monkeypatch.setattr(backup, "PAGES_AT_ONCE", 1)
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    _log.warning("seed %d", seed)
    folder = tmp_path / "copies" / "copy"
    started_s = time.monotonic()
    back_up(url, tmp_path / "first")
    takes_s = time.monotonic() - started_s
    whole = 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            try:
                back_up(url, folder)
            except BaseException:  # noqa: BLE001 - the child must not run pytest's own ending
                os._exit(1)
            os._exit(0)
        time.sleep(dice.random() * takes_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if folder.exists():
            expect_sound(f"sqlite:///{folder}/heatfleet.db")
            shutil.rmtree(folder)
            whole += 1
    assert whole < kills
    back_up(url, folder)

    assert ["copy"] == [path.name for path in folder.parent.iterdir()]
    for address in (url, f"sqlite:///{folder}/heatfleet.db"):
        with closing(open_store(address)) as store:
            store.rollup(NOW_MS)
            assert defined(a_history(), NOW_MS) == told(store.figures())


def test_a_full_disk_leaves_nothing_of_a_backup(url: str, small_disk: Path, tmp_path: Path) -> None:
    """It says so, and gives the room back."""
    (small_disk / "filler").write_bytes(bytes(DISK_BYTES - 600_000))
    with pytest.raises(StoreUnavailable, match="full"):
        back_up(url, small_disk / "copies" / "copy")

    assert [] == list((small_disk / "copies").iterdir())
    expect_sound(url)


def test_archives_are_copied_to_another_disk_and_linked_on_the_same(url: str, small_disk: Path, tmp_path: Path) -> None:
    """They never change, so a second name is as good as a copy; what is on another disk is a copy of its own."""
    names = [Path(back_up(url, folder / "copy").folder) for folder in (small_disk, tmp_path)]
    for folder, links in zip(names, (1, 2), strict=True):
        archives = list(folder.glob("heatfleet.db.d/*.parquet"))
        assert {links} == {path.stat().st_nlink for path in archives}
        expect_sound(f"sqlite:///{folder}/heatfleet.db", figures=True)


def test_a_backup_waits_for_a_rollup_but_not_for_ever(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollup at work is let come to its end; one that does not end is named, and nothing is left behind."""
    lock = tmp_path / "heatfleet.db.d" / "rollup.lock"
    released = threading.Event()
    with ThreadPoolExecutor() as pool:
        with exclusive(lock):
            waiting = pool.submit(back_up, url, tmp_path / "one")
            released.wait(0.3)
            assert not waiting.done()
        assert waiting.result().files
    monkeypatch.setattr(backup, "ROLLUP_WAIT_S", 0.05)
    with (
        exclusive(lock),
        pytest.raises(StoreUnavailable, match=rf"a rollup \(process {os.getpid()}\) has been at work"),
    ):
        back_up(url, tmp_path / "two")

    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "two.part").exists()


def test_nothing_is_written_over(url: str, tmp_path: Path) -> None:
    """A folder in which there is something stays as it is, also one in which another backup is being made."""
    used, making = tmp_path / "used", tmp_path / "making.part"
    used.mkdir()
    making.mkdir()
    (used / "letter").write_text("Dear Sir or Madam")
    with pytest.raises(SetupError, match="is there already"):
        back_up(url, used)
    with exclusive(making / "backup.lock"), pytest.raises(StoreUnavailable, match="another backup"):
        back_up(url, tmp_path / "making")

    assert ["letter"] == [path.name for path in used.iterdir()]
    assert ["backup.lock"] == [path.name for path in making.iterdir()]
    assert back_up(url, tmp_path / "making").files
    (used / "letter").unlink()
    assert back_up(url, used).files


def test_a_damaged_file_ends_a_backup(url: str, tmp_path: Path) -> None:
    """A copy of what cannot be opened would be taken for a backup."""
    [file] = (tmp_path / "heatfleet.db.d").glob("readings-2024-12-02.db")
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises((StoreUnavailable, SetupError), match=r"readings-2024-12-02\.db.*backup"):
        back_up(url, tmp_path / "copy")

    assert not list(tmp_path.glob("copy*"))
