"""Making room, beside the rollup and in small pieces: days that are old enough go.

Nothing here changes a figure. Each step may be cut off and repeated.
"""

from collections.abc import Iterator

from heatfleet.domain.messages import POWER, TEMPERATURE
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.storage.base import Ages
from heatfleet.storage.sqlite.carried import CARRIED_PART_SHIFT, Carried, due_ms, pack
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.fleet import NEVER, Fleet

DEVICES_A_PIECE = 1_000


def make_room(days: DayFiles, carried: Carried, fleet: Fleet, ages: Ages) -> Iterator[None]:
    """All that is to do now, with a pause after each small piece; to be begun anew after a change of old readings."""
    days.remove_before(carried.from_ms() // DAY_MS)  # what a process that died left
    if ages.retention_days:
        yield from _remove_old_days(days, carried, fleet, due_ms(int(fleet.last_ms.max()), ages.retention_days))


def _remove_old_days(days: DayFiles, carried: Carried, fleet: Fleet, before_ms: int) -> Iterator[None]:
    """First what later figures need is carried over, in one transaction with the new boundary; then the files go."""
    going = [day for day in days.days() if day < before_ms // DAY_MS]
    if not going:
        return
    parts: dict[int, bytes] = {}
    size = 1 << CARRIED_PART_SHIFT
    for part in range(0, len(fleet.last_ms), size):
        rows: list[Row] = []
        for first in range(part, min(part + size, len(fleet.last_ms)), DEVICES_A_PIECE):
            for device in range(first, min(first + DEVICES_A_PIECE, part + size, len(fleet.last_ms))):
                rows += _newest_words(days, going, carried, fleet, device, before_ms)
            yield
        parts[part >> CARRIED_PART_SHIFT] = pack(Readings.of_rows(rows))
    carried.replace(parts, before_ms)
    days.remove_before(before_ms // DAY_MS)
    yield


def _newest_words(
    days: DayFiles, going: list[int], carried: Carried, fleet: Fleet, device: int, before_ms: int
) -> Iterator[Row]:
    """A device's newest reading of each code before an instant."""
    first_ms = int(fleet.first_ms[device])
    for code, times_ms in ((POWER, fleet.power_ms), (TEMPERATURE, fleet.temperature_ms)):
        newest_ms = int(times_ms[device])
        if newest_ms == NEVER or first_ms >= before_ms:
            continue
        # No later hour need be asked than that of the newest value ever told.
        latest = min(newest_ms, before_ms - 1) // HOUR_MS
        hours = (
            hour
            for day in reversed(going)
            for hour in range(min(day * 24 + 23, latest), max(day * 24, first_ms // HOUR_MS) - 1, -1)
        )
        told = (row for hour in hours for row in reversed(days.of_device(device, hour)) if row[2] == code)
        found = next(told, None) or next((row for row in carried.of_device(device) if row[2] == code), None)
        if found is not None:
            yield found
