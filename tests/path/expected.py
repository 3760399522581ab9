"""What a report must say, worked out from the definition in a way of its own: nothing of ``reports`` is used here."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from heatfleet.domain.messages import Reading, read_message
from heatfleet.domain.slots import SLOT_S
from tests.oracle import defined

MJ_PER_WH = 3_600_000
ALWAYS_MS = 2**43  # a now that no message is ahead of

Report = dict[str, dict[str, int]]


def expected_report(readings: Iterable[Reading], now_ms: int, zone: str = "UTC") -> Report:
    """Whole Wh by day and hour of a local clock, each slot of the definition put where that clock shows its start."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for slot, energy_mj, known_ms, *_ in defined(readings, now_ms):
        if known_ms:
            sums[_day_and_hour(datetime.fromtimestamp(slot * SLOT_S, ZoneInfo(zone)))] += energy_mj
    report: Report = defaultdict(dict)
    for (day, hour), energy_mj in sums.items():
        # A fraction rounds half to even, and exactly.
        report[day][hour] = round(Fraction(energy_mj, MJ_PER_WH))
    return dict(report)


def _day_and_hour(shown: datetime) -> tuple[str, str]:
    shown_twice = shown.replace(fold=0).utcoffset() != shown.replace(fold=1).utcoffset()
    offset = shown.isoformat()[-len("+00:00") :] if shown_twice else ""
    return shown.date().isoformat(), f"{shown:%H}:00{offset}"


def milliseconds(text: str) -> int:
    """The instant that an ISO date or date-time names, in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def readings_in(lines: Iterable[bytes]) -> list[Reading]:
    """The readings of messages, each of them good, by the definition."""
    return [reading for line in lines for reading in read_message(json.loads(line), ALWAYS_MS)]
