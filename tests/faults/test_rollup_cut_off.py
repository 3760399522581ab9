"""A rollup that is cut off at any point loses nothing and counts nothing twice."""

import os
import random
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS
from heatfleet.storage import open_store
from heatfleet.storage.base import Store
from heatfleet.storage.block import Block
from tests.oracle import HOLD_MS, defined, told

START_MS = 1_732_579_200_000
NOW_MS = START_MS + 26 * HOUR_MS


def a_history(dice: random.Random) -> list[list[Reading]]:
    """A few devices over a day, in batches; some readings late, repeated, contradicting, or of another product."""
    said = [
        Reading(
            dice.choice("abcde"),
            dice.choice("ppppq"),
            dice.choice([POWER, TEMPERATURE]),
            START_MS + dice.randrange(0, 26 * 60) * 60_000,
            float(dice.randrange(0, 60)),
        )
        for _ in range(60)
    ]
    said.sort(key=lambda reading: reading.time_ms)
    for _ in range(10):
        said.insert(dice.randrange(len(said)), dice.choice(said))
    return [said[start : start + 14] for start in range(0, len(said), 14)]


def killed_at_statement(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a child process that dies, as by SIGKILL, just before its n-th step; whether it died.

    A step is an SQL statement, or the removal or renaming of a file.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def count(*_: object) -> bool:
            nonlocal seen
            seen += 1
            if seen == number:
                os._exit(9)
            return True

        sys.addaudithook(lambda event, _: count() if event in {"os.remove", "os.rename"} else None)
        apsw.connection_hooks.append(lambda connection: setattr(connection, "exec_trace", count))
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not run pytest's own ending
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert code in (0, 9)
    return code == 9


def the_figures_are_right(store: Store, said: list[Reading]) -> bool:
    return all(
        defined(said, NOW_MS, product_id=product) == told(store.figures(product_id=product)) for product in (None, "q")
    ) and all(
        defined([reading for reading in said if reading.device_id == device], NOW_MS)
        == told(store.device_figures(device))
        for device in "abcde"
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_rollup_killed_at_any_statement_is_made_good_by_the_next(seed: int, tmp_path: Path) -> None:
    """Kill a rollup before a random statement, again and again; what the next ones make of it is the definition."""
    dice = random.Random(seed)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    said: list[Reading] = []
    deaths = 0
    for batch in a_history(dice):
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            store.append([Block.of(batch)], NOW_MS)
        said += batch

        def rollup() -> None:
            with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
                store.rollup(NOW_MS)

        for _ in range(8):
            deaths += killed_at_statement(dice.randrange(1, 60), rollup)
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        store.rollup(NOW_MS)

        assert deaths > 20
        assert the_figures_are_right(store, said)


def test_a_backlog_cut_off_between_its_steps_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollup of several steps and transactions may die in any of them: nothing is lost, nothing counted twice."""
    monkeypatch.setattr("heatfleet.storage.sqlite.reckoner.READINGS_A_STEP", 4)
    monkeypatch.setattr("heatfleet.storage.sqlite.reckoner.STEPS_A_TRANSACTION", 3)
    said = [reading for batch in a_history(random.Random(5)) for reading in batch]

    def rollup() -> None:
        with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
            store.rollup(NOW_MS)

    deaths = 0
    for number in range(40, 700, 60):
        url = f"sqlite:///{tmp_path}/{number}/heatfleet.db"
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            for start in range(0, len(said), 4):
                store.append([Block.of(said[start : start + 4])], NOW_MS)
        deaths += killed_at_statement(number, rollup)
        rollup()
        with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
            assert the_figures_are_right(store, said)
    assert deaths > 5


def test_a_rebuild_killed_at_any_statement_leaves_the_old_figures(tmp_path: Path) -> None:
    """Readers see the figures of before until a rebuild is whole."""
    dice = random.Random(1)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    said = [reading for batch in a_history(dice) for reading in batch]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)

    def rebuild() -> None:
        with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
            store.rebuild(NOW_MS)

    deaths = 0
    for number in range(5, 90, 7):
        deaths += killed_at_statement(number, rebuild)
        with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
            assert the_figures_are_right(store, said)
    assert deaths > 5


def test_a_journal_of_many_files_is_read_in_order_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the journal begins a new file every few rows, nothing is lost, and read files go away."""
    monkeypatch.setattr("heatfleet.storage.sqlite.journal.FILE_BYTES_MAX", 20_000)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    said = [batch for seed in range(8) for batch in a_history(random.Random(seed))]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        for batch in said:
            store.append([Block.of(batch)], NOW_MS)
    files = sorted(tmp_path.glob("heatfleet.db.d/journal-*.db"))
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of(said[0])], NOW_MS)
        store.rollup(NOW_MS)

        assert len(files) > 1
        assert [files[-1]] == sorted(tmp_path.glob("heatfleet.db.d/journal-*.db"))
        assert the_figures_are_right(store, [reading for batch in said for reading in batch])
