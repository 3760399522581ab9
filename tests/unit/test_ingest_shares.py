"""One who sends too much leaves room for the others."""

import pytest

from heatfleet.errors import Overloaded, Refused, TooMany
from tests.unit.gated_ingest import Gate, ingesting, some, turns

pytestmark = pytest.mark.anyio


async def test_one_may_fill_half_of_the_queue() -> None:
    """Then it is told to wait, and others are still taken, until nothing fits any more."""
    gate, told = Gate(), list[Refused | None]()
    async with ingesting(gate, readings_max=100) as ingest:
        ingest.put(some(30), told.append, "noisy")
        ingest.put(some(20), told.append, "noisy")
        with pytest.raises(TooMany):
            ingest.put(some(9), told.append, "noisy")
        ingest.put(some(40), told.append, "quiet")
        ingest.put(some(10), told.append)
        with pytest.raises(Overloaded):
            ingest.put(some(1), told.append)
        gate.open.set()
        await turns()
    assert [None] * 4 == told


async def test_a_share_is_given_back(caplog: pytest.LogCaptureFixture) -> None:
    """With the answer, whatever that is."""
    gate, told = Gate(), list[Refused | None]()
    gate.errors.append(Overloaded("the disk is asleep"))
    gate.open.set()
    async with ingesting(gate, readings_max=100) as ingest:
        for _ in range(3):
            ingest.put(some(50), told.append, "noisy")
            while ingest.readings:
                await turns(1)

    assert [True, False, False] == [isinstance(error, Overloaded) for error in told]


async def test_a_single_batch_above_its_share_is_taken() -> None:
    """Or it could never be."""
    gate, told = Gate(), list[Refused | None]()
    gate.open.set()
    async with ingesting(gate, readings_max=100) as ingest:
        await ingest.write(some(80), "noisy")
        ingest.put(some(80), told.append, "noisy")

    assert [None] == told
