"""Local clocks: what a wall clock in some time zone shows over a slot, and which slot a local time names.

A slot belongs to the local hour in which it begins. Since 2000 every zone keeps an offset from UTC of whole
quarters of an hour, so local hours and days are made of whole slots, whatever the zone does with its summers.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from heatfleet.domain.messages import TIME_MIN_MS
from heatfleet.domain.slots import SLOT_S, SLOTS_PER_DAY, slot_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOT = timedelta(seconds=SLOT_S)
_AROUND = 2 * SLOTS_PER_DAY

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"(?:[01][0-9]|2[0-3]):[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_DATE_TIME = re.compile(rf"{_DATE.pattern}[Tt]{_TIME}(?:[Zz]|[+-][0-9]{{2}}:[0-5][0-9])?")
_LOST_PLUS = re.compile(r".*[0-9] [0-9]{2}:[0-9]{2}")


@dataclass(frozen=True, slots=True)
class OffsetRun:
    """The slots ``[first_slot, end_slot)`` that begin under one offset from UTC (seconds, positive east)."""

    first_slot: int
    end_slot: int
    offset_s: int


def offset_runs(zone: tzinfo, first_slot: int, end_slot: int) -> list[OffsetRun]:
    """The runs of equal offset, in order and without gaps, from two days before the range to two after.

    The margin shows the transitions that concern a local day or hour of which the range holds only a part.
    """
    begin, end = first_slot - _AROUND, end_slot + _AROUND
    starts = [(begin, _offset_s(zone, begin))]
    # No zone changes its offset twice in a day: asking once a day finds every change.
    for slot in range(begin, end, SLOTS_PER_DAY):
        last_slot = min(slot + SLOTS_PER_DAY, end) - 1
        offset_s = _offset_s(zone, last_slot)
        if offset_s != starts[-1][1]:
            starts.append((_change(zone, slot - 1, last_slot, offset_s), offset_s))
    ends = [start for start, _ in starts[1:]] + [end]
    return [OffsetRun(start, stop, offset) for (start, offset), stop in zip(starts, ends, strict=True)]


def repeated_hours(runs: Sequence[OffsetRun]) -> list[int]:
    """The local hours that come under two offsets, as whole hours of the local clock since 1970."""
    return [
        hour
        for earlier, later in pairwise(runs)
        for hour in range(
            (later.first_slot * SLOT_S + later.offset_s) // 3600,
            (earlier.end_slot * SLOT_S + earlier.offset_s - 1) // 3600 + 1,
        )
    ]


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name; ``ValueError`` for an unknown one, with the nearest that exists."""
    names = _zone_names()
    if names.get(name.lower()) == name:
        return ZoneInfo(name)
    near = difflib.get_close_matches(name[:64].lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {names[near[0]]}?" if near else ""
    raise ValueError(f"must be an IANA time zone such as Europe/Paris{hint}")


def slot_at(text: str, zone: tzinfo) -> int:
    """The slot that starts at a date or date-time (RFC 3339); ``ValueError`` where there is none.

    A date is the beginning of that day in the zone. A date-time without an offset is local; where the clock
    shows it twice, the first is meant; where the clock leaps over it, there is no such time.
    """
    moment = _moment(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
        if not _DATE.fullmatch(text):
            _refuse_leapt_over(moment)
    slot, beyond = divmod(moment - _EPOCH, _SLOT)
    # Nothing was measured before 2000, when some zones still kept odd minutes and seconds: any start will do.
    if beyond and slot >= slot_of(TIME_MIN_MS):
        raise ValueError("must fall on a quarter of an hour in UTC (:00, :15, :30 or :45)")
    return slot


def instant_ms(text: str) -> int:
    """The instant of a date or date-time (RFC 3339), in UTC where it has no offset, in ms since the epoch.

    Raises ``ValueError`` for anything else.
    """
    moment = _moment(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _offset_s(zone: tzinfo, slot: int) -> int:
    offset = datetime.fromtimestamp(slot * SLOT_S, zone).utcoffset()
    return 0 if offset is None else offset // timedelta(seconds=1)


def _change(zone: tzinfo, before: int, after: int, offset_s: int) -> int:
    """The first slot in ``(before, after]`` that begins under the new offset."""
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_s(zone, middle) == offset_s:
            after = middle
        else:
            before = middle
    return after


_NO_PLACES = {"localtime", "Factory"}
"""What some systems keep among their zones: the machine's own, and the lack of one."""


@cache
def _zone_names() -> dict[str, str]:
    """Every zone there is, by its name in small letters."""
    return {name.lower(): name for name in sorted(available_timezones() - _NO_PLACES)}


def _moment(text: str) -> datetime:
    """What the text says, with an offset or without; a date is its midnight."""
    if not (_DATE.fullmatch(text) or _DATE_TIME.fullmatch(text)):
        hint = "; in a URL write + as %2B" if _LOST_PLUS.fullmatch(text) else ""
        raise ValueError(f"must be a date or date-time such as 2024-12-18 or 2024-12-18T06:00:00Z{hint}")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("must be a day and a time of day that the calendar has") from None


def _refuse_leapt_over(moment: datetime) -> None:
    before, after = (moment.replace(fold=fold).utcoffset() for fold in (0, 1))
    if before is not None and after is not None and before < after:
        raise ValueError("must be a time that the zone's clocks show; they are set forward over this one")
