"""Accept, bound, commit in groups, answer after the commit."""

import asyncio
import logging
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from heatfleet import ingest as module
from heatfleet.errors import Overloaded, Refused, StoreUnavailable
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests.unit.gated_ingest import NOW_MS, Gate, ingesting, some, turns


async def test_an_answer_comes_after_the_commit() -> None:
    """Nobody is told anything while the commit runs."""
    gate = Gate()
    async with ingesting(gate) as ingest:
        told: list[Refused | None] = []
        ingest.put(some(1), told.append)
        await turns()

        assert [] == told

        gate.open.set()
        await ingest.write(some(1))

        assert [None] == told


async def test_what_arrives_during_a_commit_shares_the_next() -> None:
    """Two commits are enough for one request and the five that came while it was written."""
    gate = Gate()
    async with ingesting(gate) as ingest:
        waits = [asyncio.ensure_future(ingest.write(some(1, f"d{number}"))) for number in range(6)]
        await turns()
        gate.open.set()
        await asyncio.gather(*waits)

        assert [some(1, "d0"), [some(1, f"d{number}")[0] for number in range(1, 6)]] == gate.commits


async def test_a_commit_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many readings are committed in several steps, no request is ever split, and a large one goes alone."""
    monkeypatch.setattr(module, "COMMIT_READINGS_MAX", 10)
    gate = Gate()
    async with ingesting(gate) as ingest:
        waits = [asyncio.ensure_future(ingest.write(some(size))) for size in (1, 6, 4, 12, 3, 8)]
        await turns()
        gate.open.set()
        await asyncio.gather(*waits)

        assert [1, 10, 12, 3, 8] == [len(commit) for commit in gate.commits]


async def test_a_commit_has_a_limit_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the requests are, one commit answers for no more than so many of them."""
    monkeypatch.setattr(module, "COMMIT_REQUESTS_MAX", 3)
    gate = Gate()
    async with ingesting(gate) as ingest:
        waits = [asyncio.ensure_future(ingest.write(some(1))) for _ in range(8)]
        await turns()
        gate.open.set()
        await asyncio.gather(*waits)

        assert [1, 3, 3, 1] == [len(commit) for commit in gate.commits]


async def test_packed_readings_are_committed_as_they_are() -> None:
    """Blocks and loose readings share a commit; what is packed is not packed again."""
    gate = Gate()
    gate.open.set()
    async with ingesting(gate) as ingest:
        first = asyncio.ensure_future(ingest.write(some(1)))
        waits = [ingest.write(Block.of(some(5, "packed"))), ingest.write(some(2, "loose"))]
        await asyncio.gather(first, *waits)

        assert [some(1), [*some(5, "packed"), *some(2, "loose")]] == gate.commits


async def test_a_full_queue_refuses_at_once() -> None:
    """Beyond the bound nothing is accepted, and what was accepted is not hurt by it."""
    gate = Gate()
    async with ingesting(gate, readings_max=5) as ingest:
        first = asyncio.ensure_future(ingest.write(some(3)))
        second = asyncio.ensure_future(ingest.write(some(2)))
        await turns()

        with pytest.raises(Overloaded):
            await ingest.write(some(1))
        with pytest.raises(Overloaded):
            ingest.check()

        gate.open.set()
        await asyncio.gather(first, second)
        await ingest.write(some(1))

        assert [3, 2, 1] == [len(commit) for commit in gate.commits]
        assert 0 == ingest.readings


async def test_an_empty_queue_takes_a_batch_above_the_bound() -> None:
    """A batch larger than the bound can be stored, or its sender would try for ever."""
    gate = Gate()
    gate.open.set()
    async with ingesting(gate, readings_max=5) as ingest:
        await ingest.write(some(50))

        assert [50] == [len(commit) for commit in gate.commits]


async def test_a_stuck_commit_refuses_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a commit lasts longer than the limit, nothing more is accepted; afterwards it is again."""
    monkeypatch.setattr(module, "STUCK_S", 0.01)
    gate = Gate()
    async with ingesting(gate) as ingest:
        stuck = asyncio.ensure_future(ingest.write(some(1)))
        await asyncio.sleep(0.02)

        with pytest.raises(Overloaded):
            ingest.check()

        gate.open.set()
        await stuck
        ingest.check()


async def test_an_error_reaches_all_of_its_commit_and_nobody_else() -> None:
    """Those who shared the failed commit are told why; the next commit is as good as any."""
    gate = Gate()
    full = StoreUnavailable("the disk is full")
    gate.errors = [full]
    async with ingesting(gate) as ingest:
        told: list[Refused | None] = []
        ingest.put(some(1), told.append)
        ingest.put(some(1), told.append)
        ingest.put(some(1), told.append)
        gate.open.set()
        await ingest.write(some(1))

        assert [full, None, None] == told


async def test_who_waited_through_a_slow_failure_is_refused_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a commit that took long to fail, those who waited for the next one are not made to wait as long again."""
    gate, told = Gate(), list[Refused | None]()
    gate.errors = [StoreUnavailable("the file is locked")]
    async with ingesting(gate) as ingest:
        for _ in range(3):
            ingest.put(some(1), told.append)
        monkeypatch.setattr(module, "STUCK_S", 0.0)
        gate.open.set()
        await ingest.close()
        assert (["the file is locked"] * 3, 1) == ([str(error) for error in told], len(gate.commits))


async def test_an_unplanned_error_does_not_end_the_writer(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a store raises, the sender is told to try again, the log says it once, and writing goes on."""
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    gate = Gate()
    gate.open.set()
    gate.errors = [ZeroDivisionError("?"), ZeroDivisionError("?")]
    async with ingesting(gate) as ingest:
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await ingest.write(some(1))

            assert isinstance(caught.value.__cause__, ZeroDivisionError)

        await ingest.write(some(1))

    assert [logging.ERROR, logging.WARNING] == [record.levelno for record in caplog.records]
    structlog.reset_defaults()


async def test_who_hangs_up_does_not_cancel_the_commit() -> None:
    """A cancelled wait leaves its readings in the commit."""
    gate = Gate()
    async with ingesting(gate) as ingest:
        wait = asyncio.ensure_future(ingest.write(some(1)))
        await turns()
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        gate.open.set()
        await ingest.write(some(1))

        assert [some(1), some(1)] == gate.commits


async def test_one_who_cannot_be_told_keeps_nobody_from_being_told() -> None:
    """An answer that fails is logged, and the others of its commit get theirs."""
    gate = Gate()
    told: list[Refused | None] = []

    def gone(error: Refused | None) -> None:
        raise ConnectionResetError

    async with ingesting(gate) as ingest:
        ingest.put(some(1), told.append)
        ingest.put(some(1), gone)
        ingest.put(some(1), told.append)

    assert [None, None] == told


async def test_closing_commits_what_was_accepted_and_accepts_no_more() -> None:
    """Everything accepted is told about before the ingest is closed; later readings are refused."""
    gate = Gate()
    told: list[Refused | None] = []
    async with ingesting(gate) as ingest:
        for _ in range(3):
            ingest.put(some(1), told.append)
        closed = asyncio.ensure_future(ingest.close())
        await turns()

        with pytest.raises(StoreUnavailable):
            ingest.put(some(1), told.append)

        gate.open.set()
        await closed

    assert [None] * 3 == told
    assert [1, 2] == [len(commit) for commit in gate.commits]


async def test_readings_are_in_the_store_when_they_are_answered_for(tmp_path: Path) -> None:
    """With the real store: many at once, then a rollup that finds them all."""
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db")) as store:
        ingest = Ingest(store, readings_max=10_000, clock=lambda: NOW_MS, metrics=Metrics())
        await asyncio.gather(*(ingest.write(some(2, f"d{number}")) for number in range(200)))
        await ingest.close()

        assert 400 == store.rollup(NOW_MS + 1000).readings


async def test_the_last_failure_is_known_until_a_commit_succeeds() -> None:
    """Who asks whether the server is ready is told of a disk that took no more, though more is accepted."""
    gate = Gate()
    gate.open.set()
    full = StoreUnavailable("the disk is full")
    gate.errors.append(full)
    async with ingesting(gate) as ingest:
        with pytest.raises(StoreUnavailable):
            await ingest.write(some(1))
        after_failure = (ingest.trouble, ingest.refusal())
        await ingest.write(some(1))

        assert (full, None) == after_failure
        assert ingest.trouble is None
