"""Damaged bodies, thousands of them: each is taken or refused, never a failure, and none leaves anything behind."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from tests.door.fuzz import Fuzz
from tests.door.test_both_ways import asked
from tests.door.wire import Wire
from tests.figures import Figure
from tests.serving import RunningServer

IN_ONE_GO = 50
WARM_UP = 1_000
GROWTH_KIB_MAX = 20 * 1024


def resident_kib(server: RunningServer) -> int:
    """The memory that the server's process has now."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def answers_to(server: RunningServer, fuzz: Fuzz, is_enough: Callable[[int], bool]) -> Counter[int]:
    """The statuses of the answers, each of which came: 2xx and 4xx only."""
    statuses: Counter[int] = Counter()
    requests = iter(fuzz)
    while not is_enough(statuses.total()):
        with Wire(server) as wire:
            for _ in range(20):
                wire.send(b"".join(islice(requests, IN_ONE_GO)))
                statuses.update(answer.status for answer in wire.answers(IN_ONE_GO))
    return statuses


@pytest.mark.parametrize(
    ("seed", "count", "for_s"),
    [(1, 10_000, 0.0), pytest.param(None, 0, 600.0, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_fuzzed_bodies(server: RunningServer, figure: Figure, seed: int | None, count: int, for_s: float) -> None:
    """Only 2xx and 4xx; the process lives, and its memory does not grow."""
    seed = time.time_ns() if seed is None else seed
    fuzz, pid = Fuzz(seed), server.process.pid
    answers_to(server, fuzz, lambda done: done >= WARM_UP)
    before_kib = resident_kib(server)
    until_s = time.monotonic() + for_s
    statuses = answers_to(server, fuzz, lambda done: done >= count and time.monotonic() >= until_s)
    growth_kib = resident_kib(server) - before_kib
    figure("S2", "fuzzed bodies", statuses.total())
    figure("S2", "fuzzed bodies: memory grown (MiB)", growth_kib / 1024)

    assert {200, 400, 413, 422} >= statuses.keys(), (seed, statuses)
    assert min(statuses[200], statuses[400], statuses[422]) > statuses.total() / 50, (seed, statuses)
    assert growth_kib < GROWTH_KIB_MAX, seed
    assert pid == server.process.pid
    assert server.process.poll() is None


def test_fuzzed_bodies_are_judged_alike_both_ways(door: RunningServer, plain: RunningServer) -> None:
    """A sample of them is answered in the same words with and without the door."""
    for number, data in enumerate(islice(Fuzz(2), 300)):
        assert asked(plain, data) == asked(door, data), number
