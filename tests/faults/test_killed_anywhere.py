"""A rollup killed before any of its statements, also while it puts readings in place, leaves a store that opens."""

import random
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests.faults.test_rollup_cut_off import NOW_MS, START_MS, a_history, killed_at_statement, the_figures_are_right
from tests.oracle import HOLD_MS


def test_a_server_starts_after_a_rollup_was_killed_anywhere(tmp_path: Path) -> None:
    """Wherever a rollup is killed, a server starts, answers for one device, and the next rollup is right."""
    said = [Reading("a", "p", POWER, START_MS, 1.0)]
    number = 230  # what comes before is one transaction, and cut off often enough by the tests beside this one
    died = True
    while died:
        url = f"sqlite:///{tmp_path}/heatfleet-{number}.db"
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            store.append([Block.of(said)], NOW_MS)

        def rollup(url: str = url) -> None:
            with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
                store.rollup(NOW_MS)

        died = killed_at_statement(number, rollup)
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            store.device_figures("a")
            store.append([Block.of(said)], NOW_MS)
            store.rollup(NOW_MS)

            assert the_figures_are_right(store, said)
        number += 1


@pytest.mark.parametrize("seed", range(4))
def test_a_rollup_killed_at_any_statement_to_the_last_is_made_good(seed: int, tmp_path: Path) -> None:
    """Kills fall on the whole length of a rollup, also after its transaction, while readings are placed."""
    dice = random.Random(seed)
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    said: list[Reading] = []
    for batch in a_history(dice):
        with closing(open_store(url, hold_ms=HOLD_MS, writable=True)) as store:
            store.append([Block.of(batch)], NOW_MS)
        said += batch

        def rollup() -> None:
            with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
                store.rollup(NOW_MS)

        for _ in range(6):
            last = dice.choice([60, 110, 800])
            killed_at_statement(dice.randrange(1, last), rollup)
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        store.rollup(NOW_MS)

        assert the_figures_are_right(store, said)
