"""Making room that is cut off at any point loses nothing that is to stay, and is made good by the next."""

import random
import shutil
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from heatfleet.storage import open_store
from heatfleet.storage.base import Ages, Store
from heatfleet.storage.block import Block
from tests.contract.test_retention import AGES, DAYS, NOW_MS, START_MS, a_history, expect_right, make_room
from tests.faults.test_rollup_cut_off import killed_at_statement
from tests.oracle import HOLD_MS

OLDEST_MS = NOW_MS - 3 * 86_400_000


def opened(folder: Path, ages: Ages | None = None) -> Store:
    return open_store(f"sqlite:///{folder}/heatfleet.db", hold_ms=HOLD_MS, writable=ages is not None, ages=ages)


@pytest.mark.slow
def test_days_are_removed_whole_or_not_at_all(tmp_path: Path) -> None:
    """Kill before every third statement or removal of a file: figures are right, and again when it is done."""
    whole = a_history(random.Random(5), 70)
    middle_ms = START_MS + (DAYS - 2) * 86_400_000
    with closing(opened(tmp_path / "whole", AGES)) as store:
        for since_ms, until_ms in ((0, middle_ms), (middle_ms, NOW_MS)):  # something is carried when the last days go
            store.append([Block.of([one for one in whole if since_ms <= one.time_ms < until_ms])], NOW_MS)
            store.rollup(until_ms)
            if until_ms < NOW_MS:
                make_room(store)
    for number in count(1, 3):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)

        def work(folder: Path = folder) -> None:
            with closing(opened(folder)) as store:
                make_room(store)

        died = killed_at_statement(number, work)
        with closing(opened(folder)) as store:
            expect_right(store, whole, OLDEST_MS)
            make_room(store)
            if number % 5 == 0 or not died:
                store.rebuild(NOW_MS)
            expect_right(store, whole, OLDEST_MS)
        left = sorted(path.name[:19] for path in (folder / "heatfleet.db.d").glob("readings-*.db"))
        shutil.rmtree(folder)

        assert ["readings-2024-11-30", "readings-2024-12-01", "readings-2024-12-02", "readings-2024-12-03"] == left
        if not died:
            break
    assert number > 90


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_archives_are_made_whole_or_not_at_all(seed: int, tmp_path: Path) -> None:
    """Kill before every n-th statement or file operation, with late readings in between: nothing is lost or doubled."""
    dice = random.Random(seed)
    said = a_history(dice, 60)
    with closing(opened(tmp_path, Ages(archive_after_days=2))) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)

    def work() -> None:
        with closing(opened(tmp_path)) as store:
            make_room(store)

    deaths = 0
    for number in count(40, 13):
        died = killed_at_statement(number, work)
        deaths += died
        with closing(opened(tmp_path)) as store:
            expect_right(store, said, 0)
            if not died:
                break
    with closing(opened(tmp_path, Ages(archive_after_days=2))) as store:
        late = [one._replace(value=one.value + 1, time_ms=one.time_ms + dice.choice([0, 1])) for one in said[::3]]
        store.append([Block.of(late)], NOW_MS)
        store.rollup(NOW_MS)
        expect_right(store, said + late, 0)
    for number in count(40, 23):
        died = killed_at_statement(number, work)
        deaths += died
        with closing(opened(tmp_path)) as store:
            expect_right(store, said + late, 0)
            if not died:
                store.rebuild(NOW_MS)
                expect_right(store, said + late, 0)
                break
    left = {path.name for path in (tmp_path / "heatfleet.db.d").glob("*-2024-11-26*")}

    assert {"readings-2024-11-26.parquet"} == left
    assert deaths > 15
