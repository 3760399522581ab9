"""An ingest in front of a store that commits when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Event

from heatfleet.domain.messages import POWER, Reading
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics
from heatfleet.storage.block import Block
from tests.blocks import readings_in

NOW_MS = 1_768_068_000_000


class Gate:
    """A store whose commits last until they are let through, and fail with the errors it is given, in order."""

    def __init__(self) -> None:
        self.commits: list[list[Reading]] = []
        self.errors: list[Exception] = []
        self.open = Event()

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Keep the readings once the gate is open."""
        assert NOW_MS == received_ms
        self.commits.append(readings_in(blocks))
        assert self.open.wait(10)
        if self.errors:
            raise self.errors.pop(0)


def some(count: int, device_id: str = "d") -> list[Reading]:
    """So many readings of a device."""
    return [Reading(device_id, "p", POWER, NOW_MS + number, 1.0) for number in range(count)]


@asynccontextmanager
async def ingesting(gate: Gate, readings_max: int = 100) -> AsyncIterator[Ingest]:
    """An ingest in front of the gate; at the end the gate is opened and the ingest closed."""
    made = Ingest(gate, readings_max=readings_max, clock=lambda: NOW_MS, metrics=Metrics())  # type: ignore[arg-type]
    try:
        yield made
    finally:
        gate.open.set()
        await made.close()


async def turns(count: int = 20) -> None:
    """Let everything happen that is ready to."""
    for _ in range(count):
        await asyncio.sleep(0)
