"""Readings of a made-up fleet, as many and as mixed as real heaters send; seeded, so that every run has the same.

Everything is columns of NumPy: two million devices send 42 million readings an hour, too many for objects.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from heatfleet.domain.messages import CODE_NAMES, POWER, TEMPERATURE
from heatfleet.domain.slots import HOUR_MS

TEMPERATURES_AN_HOUR = 12
POWERS_AN_HOUR = 9
READINGS_AN_HOUR = TEMPERATURES_AN_HOUR + POWERS_AN_HOUR
MESSAGES_A_DAY = 500
PRODUCTS = 10
DELAY_MEAN_MS = 2_000
"""How long a reading is under way on average, which is what puts them out of order."""
_EVERY_MS = HOUR_MS // TEMPERATURES_AN_HOUR
_MESSAGE = (
    b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"%s","productId":"%s","properties":'
    b'[{"code":"%s","dpId":1,"time":%d,"value":%.1f}]},"ts":%d}'
)

Ints = npt.NDArray[np.int64]
Text = npt.NDArray[np.uint8]


class Columns(NamedTuple):
    """Readings in order of arrival: the place of the device in its fleet, the code, the time, the value."""

    device: Ints
    code: npt.NDArray[np.uint8]
    time_ms: Ints
    value: npt.NDArray[np.float64]

    def part(self, first: int, end: int) -> Self:
        """Some of them."""
        where = slice(first, end)
        return type(self)(self.device[where], self.code[where], self.time_ms[where], self.value[where])


class MadeUpFleet:
    """So many devices, with names that look like those of real ones and tell nothing of their order."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self._chance = np.random.default_rng(devices)
        self.names = self._hex(devices, b"bf", 18, b"aq")
        self.product_names = self._hex(PRODUCTS, b"", 16, b"")
        self._phase_ms = np.sort(self._chance.integers(0, _EVERY_MS, devices))
        self._rated_w = self._chance.integers(10, 51, devices) * 50

    def name(self, device: int) -> str:
        """What the device calls itself."""
        return str(self.names[device].tobytes(), "ascii")

    def between(self, start_ms: int, end_ms: int) -> Columns:
        """What all devices say in this time: a temperature every 5 minutes each, and changes of power in between."""
        rounds = np.arange(start_ms // _EVERY_MS, -(-end_ms // _EVERY_MS))
        parts = []
        for begin_ms in (rounds * _EVERY_MS).tolist():
            first, end = np.searchsorted(self._phase_ms, (start_ms - begin_ms, end_ms - begin_ms)).tolist()
            device = np.arange(first, end)
            parts.append((device, begin_ms + self._phase_ms[first:end]))
        regular, regular_ms = (np.concatenate(column) for column in zip(*parts, strict=True))
        changes = round(self.devices * POWERS_AN_HOUR * (end_ms - start_ms) / HOUR_MS)
        changed = self._chance.integers(0, self.devices, changes)
        power_w = np.where(self._chance.integers(0, 2, changes) > 0, self._rated_w[changed], 0)
        celsius = self._chance.integers(150, 230, regular.size) / 10
        return self._as_they_arrive(
            np.concatenate([regular, changed]),
            np.repeat(np.array([TEMPERATURE, POWER], np.uint8), [regular.size, changes]),
            np.concatenate([regular_ms, self._chance.integers(start_ms, end_ms, changes)]),
            np.concatenate([celsius, power_w]),
        )

    def by_minute(self, start_ms: int, end_ms: int, step_ms: int = 60_000) -> Iterator[Columns]:
        """The same in pieces that fit in memory, one after the other."""
        for begin_ms in range(start_ms, end_ms, step_ms):
            yield self.between(begin_ms, min(end_ms, begin_ms + step_ms))

    def some(self, count: int, start_ms: int, end_ms: int) -> Columns:
        """So many readings of random devices at random times."""
        code = self._chance.integers(0, 2, count).astype(np.uint8)
        return Columns(
            self._chance.integers(0, self.devices, count),
            code,
            self._chance.integers(start_ms, end_ms, count),
            np.where(code == POWER, 1500.0, 21.5),
        )

    def everyone(self, start_ms: int, end_ms: int) -> Columns:
        """One word of each device, its power, spread over this time."""
        device = self._chance.permutation(self.devices)
        time_ms = np.linspace(start_ms, end_ms - 1, self.devices).astype(np.int64)
        return Columns(device, np.full(self.devices, POWER, np.uint8), time_ms, self._rated_w[device].astype(float))

    def messages(self, columns: Columns) -> list[bytes]:
        """The message that carries each reading."""
        codes = {code: name.encode() for code, name in CODE_NAMES.items()}
        return [
            _MESSAGE
            % (
                self.names[device].tobytes(),
                self.product_names[device % PRODUCTS].tobytes(),
                codes[code],
                time_ms,
                value,
                time_ms,
            )
            for device, code, time_ms, value in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def _as_they_arrive(
        self, device: Ints, code: npt.NDArray[np.uint8], time_ms: Ints, value: npt.NDArray[np.float64]
    ) -> Columns:
        arrival = np.argsort(time_ms + self._chance.exponential(DELAY_MEAN_MS, time_ms.size))
        return Columns(device[arrival], code[arrival], time_ms[arrival], value[arrival])

    def _hex(self, count: int, before: bytes, digits: int, after: bytes) -> Text:
        """Names of equal width, one in each row."""
        text = np.frombuffer(b"0123456789abcdef", np.uint8)[self._chance.integers(0, 16, (count, digits))]
        ends = [np.tile(np.frombuffer(end, np.uint8), (count, 1)) for end in (before, after)]
        return np.ascontiguousarray(np.hstack([ends[0], text, ends[1]]))
