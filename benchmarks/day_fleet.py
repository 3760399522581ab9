"""A simulated day of a fleet: its messages as bytes, and the energy that a report has to show in the end.

Messages have a fixed width, so ten thousand of them are one matrix whose digits NumPy writes: some 0.1 µs a message,
which leaves the processor to the server. The truth is worked out here a second time, by nothing but this file: watts
are whole, so power x milliseconds is whole millijoules and every sum is exact.

In each of 21 parts of an hour each device speaks once, in an order that differs from part to part; 9 of the 21 tell a
power, the others a temperature. One device in 32 is silent from 13:10 to 16:50, longer than it is believed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.fleet import READINGS_AN_HOUR, Ints, MadeUpFleet, Text
from heatfleet.domain.slots import HOUR_MS

BATCH = 10_000
HOLD_MS = HOUR_MS
PART_MS = HOUR_MS // READINGS_AN_HOUR
STRIDE = 2_654_435_761
"""A prime above every fleet's size: counting in such steps, modulo the size, meets each device once."""
SILENT_ONE_IN = 32
SILENT_FROM_MS, SILENT_UNTIL_MS = 13 * HOUR_MS + 600_000, 17 * HOUR_MS - 600_000
_PIECES = (
    ("", b'{"bizCode":"devicePropertyMessage","bizData":{"devId":"'),
    ("device", b"d" * 22),
    ("", b'","productId":"'),
    ("product", b"p" * 16),
    ("", b'","properties":[{"code":"'),
    ("code", b"c" * 13),
    ("", b'","dpId":1,"time":'),
    ("time", b"0" * 13),
    ("", b',"value":'),
    ("value", b"0" * 4),
    ("", b'}]},"ts":'),
    ("ts", b"0" * 13),
    ("", b"}\n"),
)
_TEMPLATE = b"".join(piece for _, piece in _PIECES)


def _spans() -> dict[str, slice]:
    found, place = {}, 0
    for name, piece in _PIECES:
        found[name] = slice(place, place + len(piece))
        place += len(piece)
    return found


def _table(words: Sequence[str]) -> Text:
    return np.frombuffer("".join(words).encode(), np.uint8).reshape(len(words), -1)


@dataclass(frozen=True, slots=True)
class Messages:
    """What some devices say, each once, in order of time; ``value`` is W, or tenths of a °C where not ``is_power``."""

    device: Ints
    time_ms: Ints
    is_power: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    value: Ints


class DayFleet:
    """So many devices and what they say from ``start_ms`` on."""

    def __init__(self, devices: int, start_ms: int) -> None:
        self.devices = devices
        self.start_ms = start_ms
        self.fleet = MadeUpFleet(devices)
        self._chance = np.random.default_rng(devices)

    def hour(self, number: int) -> Iterator[Messages]:
        """An hour in pieces of at most 10,000 messages, in order of time."""
        for part in range(READINGS_AN_HOUR):
            start_ms = self.start_ms + number * HOUR_MS + part * PART_MS
            shift = int(self._chance.integers(self.devices))
            for first in range(0, self.devices, BATCH):
                place = np.arange(first, min(first + BATCH, self.devices))
                yield self._said(
                    part, (place * STRIDE + shift) % self.devices, start_ms + place * PART_MS // self.devices
                )

    def _said(self, part: int, device: Ints, time_ms: Ints) -> Messages:
        into_ms = time_ms - self.start_ms
        if into_ms[-1] >= SILENT_FROM_MS and into_ms[0] < SILENT_UNTIL_MS:
            speaks = (device % SILENT_ONE_IN > 0) | (into_ms < SILENT_FROM_MS) | (into_ms >= SILENT_UNTIL_MS)
            device, time_ms = device[speaks], time_ms[speaks]
        is_power = (4 * part + device) % 7 < 3
        # On or off, and as many digits either way: 0 W is written as 0.00.
        power_w = self._chance.integers(1_000, 3_000, device.size) * self._chance.integers(0, 2, device.size)
        return Messages(device, time_ms, is_power, np.where(is_power, power_w, 150 + power_w % 80))


class Writer:
    """Writes messages over those before, in one piece of memory: (10,000, width) bytes."""

    _AT = _spans()
    _CODES = _table(["temp_interior", "instant_power"])
    _DIGITS = _table([f"{number:04}" for number in range(10_000)])
    _VALUES = _table(
        [
            ("0.00" if not number else f"{number / 10:04.1f}") if number < 1_000 else str(number)
            for number in range(10_000)
        ]
    )

    def __init__(self, fleet: MadeUpFleet) -> None:
        self._fleet = fleet
        self._rows = np.tile(np.frombuffer(_TEMPLATE, np.uint8), (BATCH, 1))

    def write(self, messages: Messages) -> Text:
        """The body of a request; it stays as it is until the next one is written."""
        rows, at = self._rows[: messages.device.size], self._AT
        rows[:, at["device"]] = self._fleet.names[messages.device]
        rows[:, at["product"]] = self._fleet.product_names[messages.device % len(self._fleet.product_names)]
        rows[:, at["code"]] = self._CODES[messages.is_power.astype(np.int8)]
        seconds, first = messages.time_ms // 10_000, at["time"].start
        rows[:, first : first + 1] = self._DIGITS[seconds // 100_000_000, 3:]
        rows[:, first + 1 : first + 5] = self._DIGITS[seconds // 10_000 % 10_000]
        rows[:, first + 5 : first + 9] = self._DIGITS[seconds % 10_000]
        rows[:, first + 9 : first + 13] = self._DIGITS[messages.time_ms % 10_000]
        rows[:, at["ts"]] = rows[:, at["time"]]
        rows[:, at["value"]] = self._VALUES[messages.value]
        return rows


class Truth:
    """The energy of each hour, ``None`` where unknown, from what was said: of the whole fleet, and of some devices."""

    def __init__(self, devices: int, start_ms: int, watched: Ints) -> None:
        self.watched = watched
        self.fleet_mj: list[int | None] = []
        self.watched_mj: list[list[int | None]] = []
        self._power_w = np.full(devices, -1)
        self._said_ms = np.full(devices, start_ms - HOLD_MS)
        self._counted_ms = np.full(devices, start_ms)
        self._hour_mj = np.zeros(devices, np.int64)
        self._known = np.zeros(devices, np.bool_)

    def hear(self, messages: Messages) -> None:
        """Count what each device used until it spoke, and remember what it said."""
        device = messages.device
        self._count(device, messages.time_ms)
        self._said_ms[device] = messages.time_ms
        told = device[messages.is_power]
        self._power_w[told] = messages.value[messages.is_power]

    def end_hour(self, now_ms: int) -> None:
        """Cut every device's use at this instant and keep the hour's sums."""
        self._count(np.arange(self._power_w.size), np.full(self._power_w.size, now_ms))
        self.fleet_mj.append(int(self._hour_mj.sum()) if self._known.any() else None)
        known = self._known[self.watched].tolist()
        energy_mj = self._hour_mj[self.watched].tolist()
        self.watched_mj.append([mj if is_known else None for mj, is_known in zip(energy_mj, known, strict=True)])
        self._hour_mj[:] = 0
        self._known[:] = False

    def _count(self, device: Ints, until_ms: Ints) -> None:
        believed_ms = np.minimum(until_ms, self._said_ms[device] + HOLD_MS)
        length_ms = np.maximum(0, believed_ms - self._counted_ms[device])
        power_w = self._power_w[device]
        self._hour_mj[device] += np.maximum(0, power_w) * length_ms
        self._known[device] |= (power_w >= 0) & (length_ms > 0)
        self._counted_ms[device] = until_ms
