"""Runs a simulation against a service: history first, as fast as asked for, and then live."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx2

from heatfleet.simulator.account import Account
from heatfleet.simulator.clock import Clock, sleep_unless, wall_clock
from heatfleet.simulator.fleet import Batch, Fleet
from heatfleet.simulator.options import STEP_MS, SimulationOptions
from heatfleet.simulator.orders import OrderBook, listen
from heatfleet.simulator.post import Posted, Poster, service_at
from heatfleet.simulator.wire import PRODUCTS

_TICK_S = 1.0
_LIVE_WITHIN_MS = 60_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a simulation is.

    ``messages`` answered for by the service and ``refused`` of them; ``rate_per_s`` messages per second since
    the beginning; ``simulated_ms`` how far the fleet has lived, since the epoch; ``share`` of the whole
    (0..1) and ``eta_s`` seconds left, both None without an end; ``note`` what is wrong at the moment, or
    empty.
    """

    phase: Literal["history", "live", "finishing"]
    messages: int
    refused: int
    rate_per_s: float
    simulated_ms: int
    share: float | None
    eta_s: float | None
    note: str


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What a finished simulation did; ``account`` has its true energy, for ``verify``."""

    options: SimulationOptions
    posted: Posted
    account: Account
    orders_obeyed: int
    orders_ignored: int
    elapsed_s: float


async def run(
    options: SimulationOptions,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    stop: asyncio.Event | None = None,
    headers: Mapping[str, str] | None = None,
    patience_s: float | None = None,
    clock: Clock | None = None,
) -> SimulationResult:
    """Live through the simulation and post all its messages; returns when every one has been answered for.

    ``on_progress`` is called in this event loop, at least after every batch. Setting ``stop`` ends the
    simulation in good order: what is still under way is delivered first. ``headers`` (an API key) go with
    every request. ``patience_s`` is how long a service that is away is waited for; by default 300 s, and for
    ever where the simulation has no end.

    Raises SimulatorError when the service refuses the requests or stays away.
    """
    clock = clock or wall_clock()
    stop = stop or asyncio.Event()
    patience_s = 300.0 if patience_s is None and options.end_ms is not None else patience_s
    connections = options.connections + PRODUCTS  # one per product for the orders
    async with service_at(options.url, headers, connections=connections) as client:
        simulation = _Simulation(options, client, clock, stop, patience_s, on_progress or (lambda _: None))
        return await simulation.run()


class _Simulation:
    def __init__(
        self,
        options: SimulationOptions,
        client: httpx2.AsyncClient,
        clock: Clock,
        stop: asyncio.Event,
        patience_s: float | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._options, self._client, self._clock, self._stop = options, client, clock, stop
        self._on_progress = on_progress
        self._fleet = Fleet(options)
        self._orders = OrderBook(self._fleet)
        self._poster = Poster(client, clock, stop, patience_s=patience_s, on_trouble=self._trouble)
        self._end_ms = None if options.end_ms is None else options.end_ms - options.end_ms % STEP_MS
        self._began_ms = clock.now_ms()
        self._phase: Literal["history", "live", "finishing"] = "history"
        self._under_way: set[asyncio.Task[None]] = set()
        self._listeners: list[asyncio.Task[None]] = []

    async def run(self) -> SimulationResult:
        try:
            await self._live_through_it()
            self._phase = "finishing"
            await self._send(self._fleet.last_batches())
            await self._all_answered()
        finally:
            tasks = [*self._under_way, *self._listeners]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._report()
        return SimulationResult(
            self._options,
            self._poster.posted,
            self._fleet.account,
            self._orders.obeyed,
            self._orders.ignored,
            (self._clock.now_ms() - self._began_ms) / 1000,
        )

    async def _live_through_it(self) -> None:
        while not self._stop.is_set():
            now_ms = self._clock.now_ms()
            until_ms = now_ms if self._end_ms is None else min(now_ms, self._end_ms)
            if self._options.speed is not None:
                paced_ms = self._fleet.start_ms + self._options.speed * (now_ms - self._began_ms)
                until_ms = min(until_ms, int(paced_ms))
            live = now_ms - self._fleet.simulated_ms < _LIVE_WITHIN_MS
            paced = live or self._options.speed is not None
            self._phase = "live" if live else "history"
            if paced and self._options.obey_orders and not self._listeners:
                self._listeners = self._listen()
            await self._send(self._fleet.batches(until_ms, flush=paced), stoppable=True)
            if until_ms == self._end_ms:
                return
            self._report()
            if paced:
                await sleep_unless(self._stop, self._clock, _TICK_S)

    async def _send(self, batches: Iterator[Batch], *, stoppable: bool = False) -> None:
        while True:
            self._orders.obey(self._clock.now_ms())
            # In a thread, so that requests under way are served meanwhile.
            batch = await asyncio.to_thread(next, batches, None)
            if batch is None:
                return
            await self._post(batch)
            if stoppable and self._stop.is_set():
                return

    async def _post(self, batch: Batch) -> None:
        while len(self._under_way) >= self._options.connections:
            await self._some_answered()
        self._under_way.add(asyncio.create_task(self._poster.post(batch)))

    async def _some_answered(self) -> None:
        done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        failed = [error for task in done if (error := task.exception()) is not None]
        if failed:
            raise failed[0]
        self._report()

    async def _all_answered(self) -> None:
        while self._under_way:
            await self._some_answered()

    def _listen(self) -> list[asyncio.Task[None]]:
        """One listener for each product, since the service streams the orders of one product at a time."""
        return [
            asyncio.create_task(
                listen(
                    self._client,
                    self._orders,
                    self._clock,
                    self._stop,
                    product_id=product_id,
                    on_trouble=self._trouble,
                )
            )
            for product_id in self._fleet.product_ids
        ]

    def _trouble(self, note: str) -> None:
        self._report(note)

    def _report(self, note: str = "") -> None:
        posted, fleet = self._poster.posted, self._fleet
        elapsed_s = max(0.001, (self._clock.now_ms() - self._began_ms) / 1000)
        share = eta_s = None
        if self._end_ms is not None:
            share = min(1.0, (fleet.simulated_ms - fleet.start_ms) / (self._end_ms - fleet.start_ms))
            eta_s = self._left_s(elapsed_s, share)
        self._on_progress(
            Progress(
                self._phase,
                posted.messages,
                posted.refused,
                posted.messages / elapsed_s,
                fleet.simulated_ms,
                share,
                eta_s,
                note,
            )
        )

    def _left_s(self, elapsed_s: float, share: float) -> float | None:
        """Seconds to the end at the pace so far; live, and wherever the end is still to come, the clock tells."""
        if self._end_ms is None or not share:
            return None
        to_come_s = max(0.0, (self._end_ms - self._clock.now_ms()) / 1000)
        return to_come_s if self._phase == "live" else max(to_come_s, elapsed_s / share - elapsed_s)
