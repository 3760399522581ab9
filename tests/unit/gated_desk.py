"""A desk on a real store and ledger, with a clock moved by hand and a bus that can be made to wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from heatfleet.commands import CommandDesk
from heatfleet.domain.access import Actor
from heatfleet.domain.commands import Audience, Command
from heatfleet.errors import BusUnavailable
from heatfleet.messaging.in_process import InProcessBus
from heatfleet.metrics import Metrics
from heatfleet.storage import open_ledger, open_store
from heatfleet.storage.base import Ledger, Store

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
TTL_S = 300
BY = Actor("4fGh71Qa", "192.0.2.7")
"""Who gives the orders of these tests."""


class Clock:
    """The time, moved by hand."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        """The time in milliseconds since the epoch."""
        return self.now_ms


class GatedBus(InProcessBus):
    """The local bus behind a gate. It keeps the orders that are brought to it, and those it carried.

    It refuses the orders for the devices that are ``refused``, or all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses = False
        self.refused: set[str] = set()
        self.brought: list[Command] = []
        self.carried: list[Command] = []
        self._arrivals = asyncio.Semaphore(0)

    async def publish_many(self, commands: Sequence[Command], *, timeout_s: float) -> Sequence[BusUnavailable | None]:
        """Accept, or refuse, the orders once the gate is open."""
        for command in commands:
            self.brought.append(command)
            self._arrivals.release()
        try:
            async with asyncio.timeout(timeout_s):
                await self.gate.wait()
        except TimeoutError:
            return [BusUnavailable("the broker did not answer")] * len(commands)
        away = BusUnavailable("the broker is away")
        said = [away if self.refuses or command.device_id in self.refused else None for command in commands]
        self.carried += [command for command, refusal in zip(commands, said, strict=True) if refusal is None]
        return said

    async def one_more_brought(self) -> None:
        """Return when one more order than last time stands before the gate or has passed it."""
        await self._arrivals.acquire()


@dataclass(frozen=True)
class Office:
    """A desk and everything around it."""

    desk: CommandDesk
    bus: GatedBus
    ledger: Ledger
    store: Store
    clock: Clock
    metrics: Metrics

    def counted(self, state: str) -> float | None:
        """How often the metric says that orders took this state."""
        return self.metrics.registry.get_sample_value("heatfleet_commands_total", {"state": state})

    async def wait_until_counted(self, state: str, orders: int) -> None:
        """Return when the metric has come so far."""
        while self.counted(state) != orders:  # noqa: ASYNC110  # a counter rings no bell
            await asyncio.sleep(0.001)


@asynccontextmanager
async def open_office(folder: Path, *, timeout_s: float = 30.0, ledger: Ledger | None = None) -> AsyncIterator[Office]:
    """A desk whose store and ledger lie in the folder, as a server opens it."""
    url = f"sqlite:///{folder}/heatfleet.db"
    bus, clock, metrics = GatedBus(), Clock(), Metrics()
    with closing(open_store(url)) as store, closing(ledger or open_ledger(url)) as book:
        async with CommandDesk(
            ledger=book, bus=bus, store=store, ttl_s=TTL_S, timeout_s=timeout_s, clock=clock, metrics=metrics
        ) as desk:
            yield Office(desk, bus, book, store, clock, metrics)


def devices(*device_ids: str) -> Audience:
    """Those who listen for these devices."""
    return Audience(frozenset(device_ids))
