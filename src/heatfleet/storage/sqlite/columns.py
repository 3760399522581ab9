"""Readings and moments as NumPy columns: the form in which millions of them are sorted, merged and integrated."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Row = tuple[int, int, int, float, int]
"""One reading: device, time_ms, code, value, product."""
_KEY_BITS = 63


@dataclass(frozen=True, slots=True)
class Columns:
    """Arrays of equal length, row by row one record."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: npt.NDArray[np.bool_] | Ints | slice) -> Self:
        """Some rows, by mask, index or slice."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.bool_:
            if rows.all():
                return self
            rows = np.flatnonzero(rows)  # found once for all columns
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Rows of all parts one after the other; at least one part."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def ranks_by_name(names: dict[int, str]) -> Ints:
    """At each product's number its rank by name: of several products named at one instant the greatest name counts."""
    ranks = np.zeros(max(names) + 1, np.int64)
    ranks[sorted(names, key=names.__getitem__)] = np.arange(len(names))
    return ranks


def first_rows(device: Ints) -> npt.NDArray[np.bool_]:
    """Marks the first row of each run of equal devices."""
    first: npt.NDArray[np.bool_] = np.r_[True, np.diff(device) != 0][: len(device)]
    return first


def order_by(major: Ints, minor: Ints) -> Ints:
    """The order that sorts by two columns of whole numbers, ``major`` first; equal rows in any order."""
    if not len(major):
        return np.empty(0, np.int64)
    low, low_major = int(minor.min()), int(major.min())
    bits = (int(minor.max()) - low).bit_length()
    key_bits = (int(major.max()) - low_major).bit_length() + bits
    place_bits = len(major).bit_length()
    if key_bits + place_bits < _KEY_BITS:  # keys that carry their places sort three times as fast as places by key
        key = ((major - low_major) << bits | (minor - low)) << place_bits | np.arange(len(major))
        key.sort()
        key &= (1 << place_bits) - 1
        return key
    if key_bits < _KEY_BITS:
        return np.argsort((major - low_major) << bits | (minor - low))  # and one column five times as fast as two
    return np.lexsort((minor, major))


@dataclass(frozen=True, slots=True)
class Readings(Columns):
    """One row a reading: device and product by number, ``code`` 0 power (W) or 1 temperature (°C)."""

    device: Ints
    time_ms: Ints
    code: Ints
    value: Floats
    product: Ints

    @classmethod
    def empty(cls) -> Self:
        """No readings."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, np.empty(0, np.float64), none)

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Self:
        """From tuples in the order of the columns."""
        if not rows:
            return cls.empty()
        device, time_ms, code, value, product = zip(*rows, strict=True)
        return cls(
            np.array(device, np.int64),
            np.array(time_ms, np.int64),
            np.array(code, np.int64),
            np.array(value, np.float64),
            np.array(product, np.int64),
        )

    def as_set(self, product_rank: Ints) -> Self:
        """Sorted by (device, time, code), one row each: the greatest value and the product of the greatest name.

        ``product_rank[product]`` orders products by name.
        """
        if not len(self):
            return self
        rows = self.take(order_by(self.device, self.time_ms << 1 | self.code))
        first = np.flatnonzero(
            np.r_[
                True,
                (np.diff(rows.device) != 0) | (np.diff(rows.time_ms) != 0) | (np.diff(rows.code) != 0),
            ],
        )
        if len(first) == len(rows):
            return rows
        value = np.maximum.reduceat(rows.value, first)
        rank = np.maximum.reduceat(product_rank[rows.product], first)
        kept = rows.take(first)
        return type(self)(kept.device, kept.time_ms, kept.code, value, np.argsort(product_rank)[rank])

    def rows(self) -> list[Row]:
        """As tuples in the order of the columns."""
        return list(
            zip(
                self.device.tolist(),
                self.time_ms.tolist(),
                self.code.tolist(),
                self.value.tolist(),
                self.product.tolist(),
                strict=True,
            )
        )


@dataclass(frozen=True, slots=True)
class Moments(Columns):
    """One row an instant at which a device spoke; a value it did not mention is NaN."""

    device: Ints
    time_ms: Ints
    power_w: Floats
    temperature_c: Floats
    product: Ints


def moments(readings: Readings, product_rank: Ints) -> Moments:
    """Readings of equal device and time as one row; ``readings`` as ``as_set`` gives them."""
    is_power = readings.code == 0
    power_w, temperature_c = readings.value.copy(), readings.value.copy()
    np.copyto(power_w, np.nan, where=~is_power)
    np.copyto(temperature_c, np.nan, where=is_power)
    said = Moments(readings.device, readings.time_ms, power_w, temperature_c, readings.product)
    same = np.r_[False, (np.diff(readings.device) == 0) & (np.diff(readings.time_ms) == 0)][: len(readings)]
    second = np.flatnonzero(same)
    if not len(second):
        return said
    # A set has at most two of one instant, power first.
    temperature_c[second - 1] = temperature_c[second]
    product = readings.product.copy()
    is_greater = product_rank[product[second]] > product_rank[product[second - 1]]
    product[second - 1] = np.where(is_greater, product[second], product[second - 1])
    return replace(said, product=product).take(~same)
