"""Making room, beside the rollup and in small pieces: days that are old enough are archived, and older ones go.

Nothing here changes a figure. Each step may be cut off and repeated.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import chain

from heatfleet.domain.messages import POWER, TEMPERATURE
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import StoreUnavailable
from heatfleet.storage.base import Ages
from heatfleet.storage.sqlite.archive import Archive, ArchiveWriter, checksum
from heatfleet.storage.sqlite.carried import CARRIED_PART_SHIFT, Carried, due_ms, pack
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.connect import exclusive, unavailable_as_error
from heatfleet.storage.sqlite.days import ARCHIVE, LATE, PART, PLAIN, DayFiles
from heatfleet.storage.sqlite.fleet import NEVER, Fleet
from heatfleet.storage.sqlite.removal import cut_away

DEVICES_A_PIECE = 1_000
ROWS_A_GROUP = 250_000
"""So many are unpacked to find one device's day, in 7 ms; with half of it the file would be 4 % larger."""
MERGE_SHARE = 8
"""A day is archived anew once what came late for it takes an eighth of its archive: most never is."""


def make_room(
    days: DayFiles, carried: Carried, fleet: Fleet, ages: Ages, announce: Callable[[], None]
) -> Iterator[None]:
    """All that is to do now, with a pause after each small piece; nothing while another process is at it.

    ``announce`` is called before files change, so that other processes look again. To be begun anew after another
    process has rolled up: what that placed may not have been seen here.
    """
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(days.folder / "room.lock"))
        except BlockingIOError:
            return
        # What a process that died left.
        yield from _cut_away(days)
        _remove_before(days, carried.from_ms() // DAY_MS, announce)
        for day in [day for day, forms in days.files().items() if PART in forms]:
            announce()
            days.remove(day, PART)
        newest_ms = int(fleet.last_ms.max())
        if ages.retention_days:
            yield from _remove_old_days(days, carried, fleet, due_ms(newest_ms, ages.retention_days), announce)
        if ages.archive_after_days:
            for day in days.days():
                if day < newest_ms // DAY_MS - ages.archive_after_days and _is_to_archive(days, day, announce):
                    yield from _archive(days, day, fleet, announce)


def _remove_before(days: DayFiles, day: int, announce: Callable[[], None]) -> None:
    for old in [found for found in days.files() if found < day]:
        announce()
        for form in (PLAIN, LATE, ARCHIVE, PART):
            days.remove(old, form)


def _remove_old_days(
    days: DayFiles, carried: Carried, fleet: Fleet, before_ms: int, announce: Callable[[], None]
) -> Iterator[None]:
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
    announce()
    carried.replace(parts, before_ms)
    _remove_before(days, before_ms // DAY_MS, announce)
    yield from _cut_away(days)


def _newest_words(
    days: DayFiles, going: list[int], carried: Carried, fleet: Fleet, device: int, before_ms: int
) -> Iterator[Row]:
    """A device's newest reading of each code before an instant; one that stands in two files may come twice."""
    first_ms = int(fleet.first_ms[device])
    newest_ms = {POWER: int(fleet.power_ms[device]), TEMPERATURE: int(fleet.temperature_ms[device])}
    missing = {code for code, time_ms in newest_ms.items() if time_ms != NEVER and first_ms < before_ms}
    # What was told last before these days is carried already, and no later hour need be asked than that of the last.
    asked = [min(newest_ms[code], before_ms - 1) // HOUR_MS for code in missing if newest_ms[code] >= going[0] * DAY_MS]
    hours = (
        hour
        for day in reversed(going if asked else [])
        for hour in range(min(day * 24 + 23, max(asked)), max(day * 24, first_ms // HOUR_MS) - 1, -1)
    )
    for rows in chain((days.of_device(device, hour) for hour in hours), [carried.of_device(device)]):
        for code in sorted(missing):
            said = [row for row in rows if row[2] == code]
            if said:
                missing.discard(code)
                yield from (row for row in said if row[1] == said[-1][1])
        if not missing:
            return


def _is_to_archive(days: DayFiles, day: int, announce: Callable[[], None]) -> bool:
    forms = days.files()[day]
    if PLAIN not in forms and {LATE, ARCHIVE} <= forms:
        large = days.path(day, LATE).stat().st_size * MERGE_SHARE > days.path(day, ARCHIVE).stat().st_size
        if large:
            announce()
        return large and days.freeze_late(day)
    return PLAIN in forms


def _archive(days: DayFiles, day: int, fleet: Fleet, announce: Callable[[], None]) -> Iterator[None]:
    """Write the archive beside the day file, read it back, put it in its place, and only then delete the day file.

    What comes late meanwhile goes to a file of its own, since there is a part of an archive.
    """
    part, written = days.path(day, PART), (0, 0)
    announce()
    with closing(ArchiveWriter(part, days.store)) as writer:
        days.made(day, PART)
        for readings in days.pieces(day, ROWS_A_GROUP, (PLAIN, ARCHIVE)):
            group = readings.as_set(fleet.product_rank)
            writer.add(group, fleet.devices(int(group.device[0]), int(group.device[-1])), fleet.products())
            written = _plus(written, checksum(group))
            yield
        writer.finish()
    read = (0, 0)
    with closing(Archive(part)) as archive:
        for number in range(archive.groups):
            read = _plus(read, checksum(archive.group(number)))
            yield
    if read != written:
        msg = f"{part} was not read back as it was written; look at the disk"
        raise StoreUnavailable(msg, retry_after_s=60)
    announce()
    days.put_in_place(day)
    days.remove(day, PLAIN)
    yield from _cut_away(days)


def _cut_away(days: DayFiles) -> Iterator[None]:
    with unavailable_as_error(days.folder):
        yield from cut_away(days.folder)


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], (one[1] + other[1]) % (1 << 64)
