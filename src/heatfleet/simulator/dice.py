"""Chance that can be repeated: every random number is a function of seed, purpose, device and moment.

There is no state. So a device behaves the same in a fleet of ten and of ten thousand, alone in a process or
shared out over several, and however the run is cut into steps, blocks or batches. Whether a fault happens
never shifts the dice of anything else.
"""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = (np.uint64(bits) for bits in (11, 27, 30, 31))
_LOW_16 = np.uint64(0xFFFF)


class Dice:
    """Random numbers for one seed (a whole number from 0 up)."""

    def __init__(self, seed: int) -> None:
        self._seed = np.array([seed], dtype=np.uint64)

    def words(self, purpose: str, device: Ints, moment: Ints | int = 0) -> _Words:
        """64 random bits for each device (and moment, which is broadcast), in the shape of ``device``."""
        salt = np.array([zlib.crc32(purpose.encode())], dtype=np.uint64)
        start = _mix(self._seed + _GOLDEN * salt)
        when = np.atleast_1d(np.asarray(moment, dtype=np.int64)).astype(np.uint64)
        return _mix(_mix(start + _GOLDEN * device.astype(np.uint64)) + _GOLDEN * (when + np.uint64(1)))

    def uniform(self, purpose: str, device: Ints, moment: Ints | int = 0) -> Floats:
        """Floats in [0, 1)."""
        return (self.words(purpose, device, moment) >> _S11).astype(np.float64) * 2.0**-53

    def between(self, purpose: str, low: float, high: float, device: Ints) -> Floats:
        """Floats in [low, high), one per device, for ever the same."""
        return low + (high - low) * self.uniform(purpose, device)

    def bell(self, purpose: str, device: Ints, moment: Ints | int = 0) -> Floats:
        """Bell-shaped floats, mean 0, standard deviation 1, never beyond +-3.5.

        The sum of four 16-bit numbers: near enough to a normal distribution for mains noise, and a tenth of
        its cost.
        """
        word = self.words(purpose, device, moment)
        total = np.zeros(word.shape, dtype=np.uint64)
        for shift in (0, 16, 32, 48):
            total += (word >> np.uint64(shift)) & _LOW_16
        bell: Floats = (total.astype(np.float64) / 65536.0 - 2.0) * math.sqrt(3.0)
        return bell


def _mix(word: _Words) -> _Words:
    """The finaliser of splitmix64: every bit of the input moves about half the bits of the output."""
    word = (word ^ (word >> _S30)) * _MIX_A
    word = (word ^ (word >> _S27)) * _MIX_B
    return word ^ (word >> _S31)
