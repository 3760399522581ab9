"""What a report means: the definition of energy, temperature and known time, in code.

Devices report only what changed, so between readings the last value holds: power is a staircase, and energy is the
area under it. Three rules make that honest.

* Any reading proves its device alive. Silence of one code alone means "unchanged".
* After ``hold_ms`` without any reading the device is *unknown*: neither zero nor held.
* Nothing is counted before a value was first told, nor after *now*.

Every store must give exactly these figures, however it computes them (``tests/contract``). All sums are whole numbers,
so they do not depend on the order of adding. Times are milliseconds since the epoch, intervals half-open.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import SLOT_MS, slot_of

DEFAULT_HOLD_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything one device said at one instant; a code it did not mention is ``None``."""

    time_ms: int
    product_id: str
    power_w: float | None
    temperature_c: float | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time over which one device is alive and its last values hold; ``None`` is unknown."""

    start_ms: int
    end_ms: int
    product_id: str
    power_w: float | None
    temperature_c: float | None


@dataclass(slots=True)
class Tally:
    """Exact sums over one slot: energy in mJ (W x ms), known time in ms, temperature in (°C / 1000) x ms."""

    energy_mj: int = 0
    known_ms: int = 0
    temperature_mc_ms: int = 0
    temperature_known_ms: int = 0


def moments(readings: Iterable[Reading]) -> list[Moment]:
    """One device's readings as a set, in order of time: of two values for one code and time the greater counts.

    Readings of equal time are one moment; should they name several products, the greatest name counts.
    """
    by_time = attrgetter("time_ms")
    return [
        Moment(
            time_ms,
            max(reading.product_id for reading in said),
            max((reading.value for reading in said if reading.code == POWER), default=None),
            max((reading.value for reading in said if reading.code == TEMPERATURE), default=None),
        )
        for time_ms, said in ((key, list(group)) for key, group in groupby(sorted(readings, key=by_time), by_time))
    ]


def segments(readings: Iterable[Reading], *, hold_ms: int, now_ms: int) -> Iterator[Segment]:
    """One device's life as segments: a value holds until the next moment, for ``hold_ms`` at most, never past now."""
    told = moments(readings)
    power_w = temperature_c = None
    for index, moment in enumerate(told):
        power_w = power_w if moment.power_w is None else moment.power_w
        temperature_c = temperature_c if moment.temperature_c is None else moment.temperature_c
        end_ms = min(moment.time_ms + hold_ms, now_ms)
        if index + 1 < len(told):
            end_ms = min(end_ms, told[index + 1].time_ms)
        if end_ms > moment.time_ms:
            yield Segment(moment.time_ms, end_ms, moment.product_id, power_w, temperature_c)


def pieces(segment: Segment) -> Iterator[tuple[int, int]]:
    """A segment cut at the slot edges: (slot, milliseconds of it) each."""
    start_ms = segment.start_ms
    while start_ms < segment.end_ms:
        slot = slot_of(start_ms)
        end_ms = min(segment.end_ms, (slot + 1) * SLOT_MS)
        yield slot, end_ms - start_ms
        start_ms = end_ms


def tally(readings: Iterable[Reading], *, hold_ms: int, now_ms: int) -> dict[tuple[str, int], Tally]:
    """One device's sums by (product, slot). A segment counts for the product named in the reading that opens it."""
    sums: dict[tuple[str, int], Tally] = {}
    for segment in segments(readings, hold_ms=hold_ms, now_ms=now_ms):
        for slot, length_ms in pieces(segment):
            cell = sums.setdefault((segment.product_id, slot), Tally())
            if segment.power_w is not None:
                cell.energy_mj += energy_mj(segment.power_w, length_ms)
                cell.known_ms += length_ms
            if segment.temperature_c is not None:
                cell.temperature_mc_ms += temperature_mc_ms(segment.temperature_c, length_ms)
                cell.temperature_known_ms += length_ms
    return sums


def energy_mj(power_w: float, length_ms: int) -> int:
    """The energy of one piece in whole millijoules. Rounding each piece alone keeps all later sums exact."""
    return math.floor(power_w * length_ms + 0.5)


def temperature_mc_ms(temperature_c: float, length_ms: int) -> int:
    """Temperature x time of one piece, in whole milli-degree-milliseconds; the order of the products matters."""
    return math.floor(1000.0 * temperature_c * length_ms + 0.5)
