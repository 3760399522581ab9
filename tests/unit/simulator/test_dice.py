"""Chance that can be repeated."""

import numpy as np

from heatfleet.simulator.dice import Dice

DEVICES = np.arange(20_000, dtype=np.int64)


def test_uniform_is_even_and_independent() -> None:
    """Uniform numbers fill [0, 1) evenly, and neither device, moment nor purpose repeats another's."""
    draws = [Dice(1).uniform(purpose, DEVICES, moment) for purpose in ("a", "b") for moment in (0, 1)]

    for draw in draws:
        counts, _ = np.histogram(draw, bins=20, range=(0, 1))
        assert counts.min() > 850
        assert counts.max() < 1150
    assert np.abs(np.corrcoef([*draws, Dice(2).uniform("a", DEVICES)]) - np.eye(5)).max() < 0.03


def test_bell_has_mean_zero_and_deviation_one() -> None:
    """Bell-shaped numbers have mean 0 and standard deviation 1."""
    draw = Dice(3).bell("mains", DEVICES, 7)

    assert abs(draw.mean()) < 0.03
    assert abs(draw.std() - 1) < 0.03


def test_a_device_does_not_depend_on_the_others() -> None:
    """A device draws the same numbers alone and in a crowd, and for a moment given alone or in an array."""
    crowd = Dice(5).uniform("x", DEVICES, 9)

    assert Dice(5).uniform("x", DEVICES[[77]], DEVICES[[9]])[0] == crowd[77]


def test_between_keeps_to_its_bounds() -> None:
    """Numbers between two bounds stay there and come near both."""
    draw = Dice(1).between("warmth", -2.0, 3.0, DEVICES)

    assert -2.0 <= draw.min() < -1.9
    assert 2.9 < draw.max() < 3.0
