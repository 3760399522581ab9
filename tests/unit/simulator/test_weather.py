"""Outdoor temperature, sunshine, local clock."""

from datetime import UTC, datetime

import numpy as np
import pytest

from heatfleet.simulator.dice import Dice
from heatfleet.simulator.weather import DAY_MS, Weather, local_minute


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def mean_c(weather: Weather, day: str, days: int) -> float:
    return float(np.mean([weather.outdoor_c(ms(day) + hour * DAY_MS // 24) for hour in range(days * 24)]))


@pytest.mark.parametrize("seed", range(5))
def test_winter_is_cold_and_summer_is_warm(seed: int) -> None:
    """January is near 3 °C and July near 20 °C on average, and no hour of the year is out of this world."""
    weather = Weather(Dice(seed))

    assert abs(mean_c(weather, "2026-01-01", 31) - 3) < 2
    assert abs(mean_c(weather, "2026-07-01", 31) - 20) < 2
    year = [weather.outdoor_c(ms("2026-01-01") + hour * DAY_MS // 24) for hour in range(365 * 24)]
    assert min(year) > -15
    assert max(year) < 38


def test_afternoons_are_warmer_than_dawns() -> None:
    """At 15 h it is warmer than at 4 h, on every day of the year."""
    weather = Weather(Dice(1))
    days = [ms("2026-01-01") + day * DAY_MS for day in range(365)]

    assert all(weather.outdoor_c(day + 15 * DAY_MS // 24) > weather.outdoor_c(day + 4 * DAY_MS // 24) for day in days)


def test_the_sun_shines_by_day_only() -> None:
    """There is sun at noon, more of it in June than in December, and none at midnight."""
    weather = Weather(Dice(1))

    assert weather.sun_w_m2(ms("2026-06-21T00:00")) == 0
    assert 0 < weather.sun_w_m2(ms("2026-12-21T12:00")) < weather.sun_w_m2(ms("2026-06-21T12:00")) < 1000


def test_the_local_clock_keeps_summer_time() -> None:
    """Homes live by the Paris clock: an hour ahead of UTC in winter, two in summer; Monday is day 0."""
    assert local_minute(ms("2026-01-12T06:30")) == (0, 7 * 60 + 30)
    assert local_minute(ms("2026-07-12T22:30")) == (0, 30)
