"""The physics: one heated room per device, with its people, its walls and its thermostat.

Two masses per room. The *air* (with the furniture) answers within minutes, the *walls* within days:

    heater, people, sun -> air <-> walls <-> outdoors
                           air <-> outdoors (windows, ventilation)

The thermostat looks at a sensor that lags behind the air, and switches with hysteresis. All arrays are
float64, one element per device; one call of ``step`` is 10 s, far below the shortest time constant, so
explicit Euler is stable and the energy balance is exact up to rounding.
"""

import numpy as np

from heatfleet.simulator.dice import Dice, Flags, Floats, Ints
from heatfleet.simulator.options import STEP_MS
from heatfleet.simulator.weather import Weather, local_minute

STEP_S = STEP_MS / 1000
_RATINGS_W = np.array([500, 750, 1000, 1000, 1250, 1500, 1500, 1500, 2000, 2000, 2500], dtype=np.float64)
_DESIGN_DIFFERENCE_K = 27.0
_AIR_J_PER_K_PER_W = 360.0
_MAINS_MEMORY = 0.85


class Schedule:
    """When somebody is at home and awake, and how warm it should then be; one weekly pattern per home."""

    def __init__(self, dice: Dice, device: Ints) -> None:
        self._comfort_c = np.round(dice.between("comfort", 18.5, 21.5, device) * 2) / 2
        self._setback_k = np.round(dice.between("setback", 1.0, 4.0, device) * 2) / 2
        self._wake = dice.between("wake", 5.5 * 60, 8.0 * 60, device)
        self._leave = dice.between("leave", 8.0 * 60, 9.5 * 60, device)
        self._back = dice.between("back", 16.0 * 60, 19.0 * 60, device)
        self._sleep = dice.between("sleep", 21.5 * 60, 23.9 * 60, device)
        self._stays_in: Flags = dice.uniform("stays in", device) < 0.35

    def occupied(self, weekday: int, minute: int) -> Flags:
        """Who is at home and awake at this local minute of this weekday (0 = Monday)."""
        awake = (self._wake <= minute) & (minute < self._sleep)
        if weekday >= 5:
            return awake
        return awake & (self._stays_in | (minute < self._leave) | (minute >= self._back))

    def target_c(self, occupied: Flags) -> Floats:
        """The wanted temperature in °C, in steps of half a degree."""
        return self._comfort_c - np.where(occupied, 0.0, self._setback_k)


class Homes:
    """State and physics of all homes; ``power_w`` after a step is the power drawn during it."""

    def __init__(self, dice: Dice, weather: Weather, device: Ints, start_ms: int) -> None:
        self._dice, self._weather, self._device = dice, weather, device
        self.schedule = Schedule(dice, device)
        self.rated_w = _RATINGS_W[(dice.uniform("rating", device) * len(_RATINGS_W)).astype(np.int64)]
        self._build_rooms()
        self._local_climate_k = dice.between("climate", -1.5, 1.5, device)
        self._band_k = dice.between("thermostat", 0.15, 0.30, device)
        self.switched_on: Flags = np.ones(len(device), dtype=np.bool_)
        self.heating: Flags = dice.uniform("heating at start", device) < 0.4
        self._mains = dice.bell("mains at start", device) * 0.01
        self._start_warm(start_ms)
        self.minute(start_ms)

    def _build_rooms(self) -> None:
        """Rooms that fit their heaters: it is 1.3 to 1.9 times what a frosty day (-7 °C) takes."""
        spare = self._dice.between("spare power", 1.3, 1.9, self._device)
        loss_w_k = self.rated_w / spare / _DESIGN_DIFFERENCE_K
        self.air_j_k = _AIR_J_PER_K_PER_W * self.rated_w * self._dice.between("furniture", 0.8, 1.3, self._device)
        self.wall_j_k = loss_w_k * 3600 * self._dice.between("wall hours", 25.0, 70.0, self._device)
        self._air_out_w_k = 0.4 * loss_w_k
        self._air_wall_w_k = 3.0 * loss_w_k
        self._wall_out_w_k = 0.75 * loss_w_k  # in a row with the line above: the other 0.6 of the loss
        self._window_m2 = 0.012 * loss_w_k
        self._people_w = self._dice.between("people", 20.0, 90.0, self._device)
        self._sensor_share = STEP_S / self._dice.between("sensor lag", 60.0, 180.0, self._device)

    def _start_warm(self, time_ms: int) -> None:
        self.air_c = self.schedule.target_c(self.schedule.occupied(*local_minute(time_ms)))
        self.air_c = self.air_c + self._band_k * self._dice.between("air at start", -1.0, 1.0, self._device)
        self.sensor_c = self.air_c.copy()
        outdoor_c = self._weather.outdoor_c(time_ms) + self._local_climate_k
        self.wall_c = 0.8 * self.air_c + 0.2 * outdoor_c

    def minute(self, time_ms: int) -> None:
        """What changes slowly, brought up to date: weather, people, wanted temperature, mains voltage."""
        self.outdoor_c = self._weather.outdoor_c(time_ms) + self._local_climate_k
        occupied = self.schedule.occupied(*local_minute(time_ms))
        self.gains_w = self._weather.sun_w_m2(time_ms) * self._window_m2 + np.where(occupied, self._people_w, 15.0)
        target_c = self.schedule.target_c(occupied)
        self._switch_on_below_c = target_c - self._band_k
        self._switch_off_above_c = target_c + self._band_k
        noise = self._dice.bell("mains", self._device, time_ms // 60_000)
        self._mains = _MAINS_MEMORY * self._mains + 0.0038 * noise
        self._full_w = self.rated_w * (1.0 + self._mains) ** 2  # a resistor: power goes with the voltage squared

    def step(self) -> Floats:
        """Live through 10 s; returns the power drawn in them, in W (a fresh array)."""
        self.heating |= self.sensor_c < self._switch_on_below_c
        self.heating &= self.sensor_c <= self._switch_off_above_c
        power_w: Floats = self._full_w * (self.heating & self.switched_on)
        into_wall_w = (self.air_c - self.wall_c) * self._air_wall_w_k
        outside_w = (self.air_c - self.outdoor_c) * self._air_out_w_k
        self.air_c += (power_w + self.gains_w - into_wall_w - outside_w) * (STEP_S / self.air_j_k)
        through_w = (self.wall_c - self.outdoor_c) * self._wall_out_w_k
        self.wall_c += (into_wall_w - through_w) * (STEP_S / self.wall_j_k)
        self.sensor_c += (self.air_c - self.sensor_c) * self._sensor_share
        return power_w
