"""Outdoor temperature, sunshine and the local clock, by season, day and hour, in the middle of France."""

import math
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from heatfleet.simulator.dice import Dice

DAY_MS = 86_400_000
_HOMES_ZONE = ZoneInfo("Europe/Paris")
_LATITUDE = math.radians(47.0)
_COLD_SPELL_PERIODS_DAYS = (3.3, 6.1, 13.7)
_COLD_SPELL_SWING_C = (1.5, 2.0, 2.0)


class Weather:
    """The weather of one seed: a function of time alone, so a run may start anywhere in it."""

    def __init__(self, dice: Dice) -> None:
        spells = np.arange(len(_COLD_SPELL_PERIODS_DAYS), dtype=np.int64)
        self._phases = [2 * math.pi * share for share in dice.uniform("weather", spells)]

    def outdoor_c(self, time_ms: int) -> float:
        """Outdoor temperature in °C: about 3 in January, 20 in July, colder at dawn, with spells of days."""
        days = time_ms / DAY_MS
        season = -math.cos(2 * math.pi * (_day_of_year(time_ms) - 20) / 365.25)
        hours = math.cos(2 * math.pi * (days % 1.0 - 14.5 / 24))
        return 11.5 + 8.5 * season + (4.0 + 1.5 * season) * hours + self._spell_c(days)

    def sun_w_m2(self, time_ms: int) -> float:
        """Sunshine on a window in W/m2: zero at night, high at noon, less under the clouds of a mild spell."""
        declination = math.radians(-23.4) * math.cos(2 * math.pi * (_day_of_year(time_ms) + 10) / 365.25)
        hour_angle = 2 * math.pi * ((time_ms / DAY_MS) % 1.0 - 0.5)
        height = math.sin(_LATITUDE) * math.sin(declination)
        height += math.cos(_LATITUDE) * math.cos(declination) * math.cos(hour_angle)
        clearness = 0.55 - 0.08 * self._spell_c(time_ms / DAY_MS)
        return 600.0 * max(0.0, height) * min(1.0, max(0.1, clearness))

    def _spell_c(self, days: float) -> float:
        spells = zip(_COLD_SPELL_PERIODS_DAYS, _COLD_SPELL_SWING_C, self._phases, strict=True)
        return sum(swing_c * math.sin(2 * math.pi * days / period + phase) for period, swing_c, phase in spells)


def local_minute(time_ms: int) -> tuple[int, int]:
    """(day of the week, 0 = Monday; minute of the day) on the clock of the homes, summer time included."""
    local_ms = time_ms + _utc_offset_ms(time_ms // 3_600_000)
    days, within_ms = divmod(local_ms, DAY_MS)
    return (days + 3) % 7, within_ms // 60_000  # the epoch was a Thursday


@lru_cache(maxsize=64)
def _utc_offset_ms(hour: int) -> int:
    offset = datetime.fromtimestamp(hour * 3_600, UTC).astimezone(_HOMES_ZONE).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


@lru_cache(maxsize=64)
def _day_number(day: int) -> int:
    return datetime.fromtimestamp(day * 86_400, UTC).timetuple().tm_yday


def _day_of_year(time_ms: int) -> float:
    return _day_number(time_ms // DAY_MS) + (time_ms % DAY_MS) / DAY_MS
