"""The whole fleet: lives through time in steps of 10 s, and hands out its messages in order of arrival."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from heatfleet.simulator.account import Account
from heatfleet.simulator.device import Reporters
from heatfleet.simulator.dice import Dice, Ints
from heatfleet.simulator.faults import Faults
from heatfleet.simulator.homes import Homes
from heatfleet.simulator.options import STEP_MS, SimulationOptions
from heatfleet.simulator.weather import Weather
from heatfleet.simulator.wire import MESSAGE, Messages, Wire

_MINUTE_MS = 60_000
_BLOCK_DEVICE_STEPS = 1_500_000
_LONGEST_BLOCK_MS = 3_600_000
_AT_THE_END_MS = 2**62


@dataclass(frozen=True, slots=True)
class Batch:
    """Some messages as NDJSON, and how far the fleet had lived (ms since the epoch) when they were sent."""

    body: bytes
    messages: int
    simulated_ms: int


class Fleet:
    """A simulated fleet. Its only input is ``switch``; without orders, messages depend on the options alone."""

    def __init__(self, options: SimulationOptions) -> None:
        start_ms = options.start_ms - options.start_ms % STEP_MS
        device = np.arange(options.first_device, options.first_device + options.devices, dtype=np.int64)
        dice = Dice(options.seed)
        self._options, self._device = options, device
        self._homes = Homes(dice, Weather(dice), device, start_ms)
        self._reporters = Reporters(dice, device, self._homes.rated_w)
        self._faults = Faults(options.faults, dice, device, start_ms)
        self._shuffle = None if options.arrival_seed is None else Dice(options.arrival_seed)
        self._phase_ms: Ints = np.floor(dice.between("phase", 0, STEP_MS, device)).astype(np.int64)
        self._under_way: Messages = np.empty(0, dtype=MESSAGE)
        self._lines: list[bytes] = []
        self._given = 0
        self._wire = Wire(options.seed, options.first_device, options.devices)
        self._index = {name: index for index, name in enumerate(self._wire.device_ids)}
        self.account = Account(options, start_ms, self._phase_ms)
        self.start_ms = self.simulated_ms = start_ms
        steps = max(1, min(_LONGEST_BLOCK_MS // STEP_MS, _BLOCK_DEVICE_STEPS // options.devices))
        self._block_ms = steps * STEP_MS

    @property
    def device_ids(self) -> list[str]:
        """The ids of the devices, in order."""
        return self._wire.device_ids

    @property
    def product_ids(self) -> list[str]:
        """The product ids that occur in this fleet, sorted."""
        return sorted(set(self._wire.product_ids))

    def index_of(self, device_id: str) -> int | None:
        """The place of a device in the fleet, None if it is none of ours."""
        return self._index.get(device_id)

    def is_online(self, index: int) -> bool:
        """Whether an order can reach this device now."""
        where, when = np.array([index]), np.array([self.simulated_ms])
        return not self._faults.offline(where, when)[0]

    def switch(self, index: int, *, on: bool) -> None:
        """Obey an order from the next step on: off draws nothing, on leaves it to the thermostat again."""
        self._homes.switched_on[index] = on

    def batches(self, until_ms: int, *, flush: bool = False) -> Iterator[Batch]:
        """Live on to ``until_ms`` (rounded up to a step), giving full batches in order of arrival.

        A last batch that is not full is kept for later, or given too with ``flush``. Only what has arrived
        before ``until_ms`` is given; the rest is still under way.
        """
        while self.simulated_ms < until_ms:
            self._live_through(min(until_ms, self.simulated_ms + self._block_ms))
            self._arrive(min(until_ms, self.simulated_ms))
            yield from self._full_batches()
        self._arrive(until_ms)
        yield from self._full_batches(flush=flush)

    def last_batches(self) -> Iterator[Batch]:
        """Everything that is still under way: at the end of a simulation all that is not lost arrives."""
        self._arrive(_AT_THE_END_MS)
        yield from self._full_batches(flush=True)

    def _live_through(self, until_ms: int) -> None:
        rows = []
        while self.simulated_ms < until_ms:
            rows.append(self._step())
        said = np.concatenate(rows)
        arriving = self._faults.apply(said)
        self.account.deliver(arriving)
        if self._shuffle is not None:
            self._hold_up(arriving, self._shuffle)
        self._under_way = np.concatenate([self._under_way, arriving])

    def _step(self) -> Messages:
        homes, now_ms = self._homes, self.simulated_ms
        if now_ms % _MINUTE_MS == 0:
            homes.minute(now_ms)
        power_w = homes.step()
        time_ms = now_ms + self._phase_ms
        everything = self._faults.back_online(time_ms)
        if now_ms == self.start_ms:
            everything = np.ones_like(everything)
        rows = self._reporters.observe(time_ms, power_w, homes.sensor_c, homes.switched_on, everything)
        self.simulated_ms = now_ms + STEP_MS
        self.account.step(now_ms, self.simulated_ms, power_w, self._reporters.said_w)
        return rows

    def _hold_up(self, rows: Messages, dice: Dice) -> None:
        """Another order of arrival: hold each message, and each repeat of one, up by chance."""
        moment = rows["arrival_ms"] * 1_000_003 + rows["number"]
        share = dice.uniform("arrival", self._device[rows["device"]], moment)
        rows["arrival_ms"] += np.floor(share * self._options.arrival_window_s * 1000).astype(np.int64)

    def _arrive(self, before_ms: int) -> None:
        here = self._under_way["arrival_ms"] < before_ms
        rows = self._under_way[here]
        self._under_way = self._under_way[~here]
        order = np.lexsort((rows["number"], rows["device"], rows["arrival_ms"]))
        self._lines = self._lines[self._given :] + self._wire.lines(rows[order])
        self._given = 0

    def _full_batches(self, *, flush: bool = False) -> Iterator[Batch]:
        size, lines = self._options.batch_size, self._lines
        while len(lines) - self._given >= size or (flush and self._given < len(lines)):
            some = lines[self._given : self._given + size]
            self._given += len(some)  # before it is given: whoever stops asking shall not get it again
            yield Batch(b"".join(some), len(some), self.simulated_ms)
