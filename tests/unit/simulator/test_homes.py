"""The physics of the rooms."""

import numpy as np
import pytest

from heatfleet.simulator.dice import Dice
from heatfleet.simulator.homes import STEP_S, Homes
from heatfleet.simulator.weather import Weather
from tests.unit.simulator.conftest import JANUARY_MS

DEVICES = np.arange(60, dtype=np.int64)
JULY_MS = JANUARY_MS + 182 * 86_400_000


def homes_at(start_ms: int, seed: int = 1) -> Homes:
    dice = Dice(seed)
    return Homes(dice, Weather(dice), DEVICES, start_ms)


def test_energy_is_neither_made_nor_lost() -> None:
    """What heater, people and sun put in, less what leaves outdoors, is what air and walls keep."""
    homes = homes_at(JANUARY_MS)
    before_j = homes.air_j_k * homes.air_c + homes.wall_j_k * homes.wall_c
    balance_j = np.zeros(len(DEVICES))
    for step in range(2000):
        homes.minute(JANUARY_MS + step * 10_000)
        left_w = (homes.air_c - homes.outdoor_c) * homes._air_out_w_k
        left_w += (homes.wall_c - homes.outdoor_c) * homes._wall_out_w_k
        balance_j += (homes.step() + homes.gains_w - left_w) * STEP_S

    kept_j = homes.air_j_k * homes.air_c + homes.wall_j_k * homes.wall_c - before_j
    assert kept_j == pytest.approx(balance_j, rel=1e-6, abs=1.0)


@pytest.mark.parametrize(("start_ms", "low_c", "high_c"), [(JANUARY_MS, 12, 25), (JULY_MS, 12, 33)])
def test_rooms_stay_habitable(start_ms: int, low_c: float, high_c: float) -> None:
    """Over two days, in winter and in summer, no room freezes or boils and no heater exceeds its rating by much."""
    homes = homes_at(start_ms)
    for step in range(2 * 8640):
        if step % 6 == 0:
            homes.minute(start_ms + step * 10_000)
        power_w = homes.step()
        assert low_c < homes.air_c.min()
        assert homes.air_c.max() < high_c
        assert power_w.min() >= 0
        assert (power_w / homes.rated_w).max() < 1.2


def test_ratings_are_those_of_real_heaters() -> None:
    """Heaters are rated between 500 and 2500 W, and not all alike."""
    rated_w = homes_at(JANUARY_MS).rated_w

    assert rated_w.min() >= 500
    assert rated_w.max() <= 2500
    assert len(set(rated_w.tolist())) >= 5


def test_a_heater_that_is_switched_off_draws_nothing() -> None:
    """Off means 0 W and a room that cools; on again means heat as soon as it is too cold."""
    homes = homes_at(JANUARY_MS)
    homes.switched_on[:] = False
    warm_c = homes.air_c.copy()
    drawn_w = [homes.step() for _ in range(6 * 360)]
    assert np.max(drawn_w) == 0
    assert (homes.air_c < warm_c - 0.5).all()

    homes.switched_on[:] = True
    assert (homes.step() > 0).all()


def test_people_set_the_temperature() -> None:
    """A room is wanted warmer while somebody is up, and by night as little as when everybody is out."""
    schedule = homes_at(JANUARY_MS).schedule
    night, evening = schedule.occupied(0, 3 * 60), schedule.occupied(0, 20 * 60)

    assert not night.any()
    assert evening.all()
    assert (schedule.target_c(evening) > schedule.target_c(night)).all()
    assert schedule.occupied(0, 13 * 60).sum() < schedule.occupied(6, 13 * 60).sum() == len(DEVICES)
