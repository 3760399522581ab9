"""Readings of a made-up fleet, as many and as mixed as real heaters send; seeded, so that every run has the same."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS

TEMPERATURES_AN_HOUR = 12
POWERS_AN_HOUR = 9
PRODUCTS = 10
DELAY_MEAN_MS = 2_000
"""How long a reading is under way on average, which is what puts them out of order."""

Ints = npt.NDArray[np.int64]


class MadeUpFleet:
    """So many devices, with names that look like those of real ones and tell nothing of their order."""

    def __init__(self, devices: int) -> None:
        chance = random.Random(devices)
        self.device_ids = [f"bf{chance.randbytes(9).hex()}aq" for _ in range(devices)]
        self.product_ids = [f"{chance.randbytes(8).hex()}" for _ in range(PRODUCTS)]
        self._chance = np.random.default_rng(devices)

    def hour(self, start_ms: int) -> Iterator[Reading]:
        """An hour of all devices, 21 readings each, in the order in which they arrive."""
        devices = len(self.device_ids)
        phase_ms = self._chance.integers(0, HOUR_MS // TEMPERATURES_AN_HOUR, devices)
        temperature_ms = np.add.outer(np.arange(TEMPERATURES_AN_HOUR) * HOUR_MS // TEMPERATURES_AN_HOUR, phase_ms)
        power_ms = np.sort(self._chance.integers(0, HOUR_MS, (POWERS_AN_HOUR, devices)), axis=0)
        is_on = (np.arange(POWERS_AN_HOUR) % 2)[:, None]
        rated_w = self._chance.integers(10, 51, devices) * 50
        celsius = self._chance.integers(150, 230, temperature_ms.shape) / 10
        time_ms = np.concatenate([temperature_ms.ravel(), power_ms.ravel()])
        arrival = np.argsort(time_ms + self._chance.exponential(DELAY_MEAN_MS, time_ms.size))
        device = np.tile(np.arange(devices), TEMPERATURES_AN_HOUR + POWERS_AN_HOUR)
        code = np.repeat([TEMPERATURE, POWER], [temperature_ms.size, power_ms.size])
        value = np.concatenate([celsius.ravel(), (is_on * rated_w).ravel().astype(np.float64)])
        return self._readings(device[arrival], code[arrival], start_ms + time_ms[arrival], value[arrival])

    def some(self, count: int, start_ms: int, end_ms: int) -> Iterator[Reading]:
        """So many readings of random devices at random times."""
        device = self._chance.integers(0, len(self.device_ids), count)
        code = self._chance.integers(0, 2, count)
        value = np.where(code == POWER, 1500.0, 21.5)
        return self._readings(device, code, self._chance.integers(start_ms, end_ms, count), value)

    def steady(self, start_ms: int, end_ms: int, every_ms: int) -> Iterator[Reading]:
        """Power and temperature of every device every so often, the power changing each time; in order of time."""
        for time_ms in range(start_ms, end_ms, every_ms):
            on = time_ms // every_ms % 2
            for number, device_id in enumerate(self.device_ids):
                product_id = self.product_ids[number % PRODUCTS]
                yield Reading(device_id, product_id, POWER, time_ms + number, 1500.0 * on)
                yield Reading(device_id, product_id, TEMPERATURE, time_ms + number, 20.0 + on)

    def _readings(self, device: Ints, code: Ints, time_ms: Ints, value: npt.NDArray[np.float64]) -> Iterator[Reading]:
        names: Sequence[str] = [self.device_ids[number] for number in device.tolist()]
        products: Sequence[str] = [self.product_ids[number % PRODUCTS] for number in device.tolist()]
        return map(Reading, names, products, code.tolist(), time_ms.tolist(), value.tolist())
