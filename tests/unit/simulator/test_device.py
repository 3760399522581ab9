"""What devices say of what they measure."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from heatfleet.simulator.device import Reporters
from heatfleet.simulator.dice import Dice, Flags
from heatfleet.simulator.wire import NOT_SAID, Messages
from tests.unit.simulator.conftest import JANUARY_MS, Message, simulate, winter

ONE = np.zeros(1, dtype=np.int64)


class OneDevice:
    """A device of 1000 W that is shown one measurement after the other, ten seconds apart."""

    def __init__(self) -> None:
        self._reporters = Reporters(Dice(1), ONE, np.array([1000.0]))
        self._time_ms = JANUARY_MS

    def sees(self, power_w: float, sensor_c: float, *, switch: bool = True, everything: bool = False) -> Messages:
        """What it says, having measured this."""
        self._time_ms += 10_000
        marks: list[Flags] = [np.array([flag]) for flag in (switch, everything)]
        measured = np.array([power_w]), np.array([sensor_c])
        return self._reporters.observe(ONE + self._time_ms, *measured, *marks)


def readings(messages: list[Message], code: str) -> dict[str, list[tuple[int, float]]]:
    """(time, value) of each device in order of time."""
    said = defaultdict(list)
    for message in messages:
        for prop in message["bizData"]["properties"]:
            if prop["code"] == code:
                said[message["bizData"]["devId"]].append((prop["time"], prop["value"]))
    return {device: sorted(values) for device, values in said.items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_about_five_hundred_messages_a_day(seed: int) -> None:
    """In the heating season a device sends about 500 messages a day on average."""
    messages = len(simulate(winter(24, devices=40, seed=seed)))

    assert 400 <= messages / 40 <= 600


@pytest.mark.parametrize("code", ["instant_power", "temp_interior"])
def test_only_changes_are_said(winter_day: list[Message], code: str) -> None:
    """No device says the same value of a code twice in a row."""
    said = readings(winter_day, code)

    assert len(said) == 50
    for values in said.values():
        assert all(before[1] != after[1] for before, after in itertools.pairwise(values))


def test_messages_carry_only_what_changed(winter_day: list[Message]) -> None:
    """Nearly every message carries one property; only the first of a device carries all."""
    sizes = [len(message["bizData"]["properties"]) for message in winter_day]

    assert sizes.count(1) > 0.95 * len(sizes)
    assert sizes.count(3) == 50


def test_power_is_said_in_whole_watts(winter_day: list[Message]) -> None:
    """Power is a whole number of watts that moves by more than the dead band, or to or from zero."""
    for values in readings(winter_day, "instant_power").values():
        watts = [value for _, value in values]
        assert all(isinstance(value, int) for value in watts)
        assert all(abs(b - a) > 4 or not a or not b for a, b in itertools.pairwise(watts))


def test_temperature_is_said_in_tenths_and_seldom(winter_day: list[Message]) -> None:
    """Temperature is said in steps of 0.1 °C, and not twice within four minutes."""
    for values in readings(winter_day, "temp_interior").values():
        assert all(round(value * 10) == pytest.approx(value * 10) for _, value in values)
        assert min(b[0] - a[0] for a, b in itertools.pairwise(values)) >= 240_000


def test_small_changes_of_power_are_kept_to_itself() -> None:
    """Within the dead band of 10 W nothing is said; beyond it, and on going off, it is."""
    device = OneDevice()
    device.sees(1000.2, 20.0, everything=True)

    assert len(device.sees(1010.4, 20.0)) == 0
    assert device.sees(1010.6, 20.0)["power_w"].tolist() == [1011]
    assert device.sees(0.0, 20.0)["power_w"].tolist() == [0]
    assert device.sees(3.0, 20.0)["power_w"].tolist() == [3]


def test_temperature_waits_for_its_pause() -> None:
    """A temperature that changes early is said once the pause is over."""
    device = OneDevice()
    device.sees(0, 20.0, everything=True)
    said = [device.sees(0, 20.3) for _ in range(40)]

    spoken = [rows["tenths_c"].tolist() for rows in said if len(rows)]
    assert spoken == [[203]]
    assert not any(len(rows) for rows in said[:25])


def test_a_switched_device_says_so() -> None:
    """A change of the switch is said along with the power it took away."""
    device = OneDevice()
    device.sees(1000, 20.0, everything=True)
    rows = device.sees(0, 20.0, switch=False)

    assert (rows["switch"].tolist(), rows["power_w"].tolist(), rows["tenths_c"].tolist()) == ([0], [0], [NOT_SAID])


def test_everything_means_everything() -> None:
    """Asked to say everything, a device repeats what has not changed."""
    device = OneDevice()
    device.sees(700, 20.0, everything=True)
    rows = device.sees(700, 20.0, everything=True)

    assert (rows["power_w"][0], rows["tenths_c"][0], rows["switch"][0], rows["number"][0]) == (700, 200, 1, 1)
