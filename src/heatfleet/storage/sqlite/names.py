"""From names to numbers, a million at a time.

A dictionary of Python strings takes about a microsecond a name, as much as all the rest of the rollup. Here names stay
bytes, are hashed as columns of 64-bit words, and are looked up in a table that is itself an array.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from heatfleet.storage.sqlite.columns import Ints

Words = npt.NDArray[np.uint64]

_NEWLINE = 10
_ROOM = bytes(72)
"""Behind the last name, so that words may be read beyond its end; a name has at most 64 letters."""
_PIECE = 65_536
"""Names hashed at once: their words stay in the processor's cache."""
_FIRST_LETTERS = np.array([(1 << 8 * letters) - 1 for letters in range(9)], np.uint64)
"""Masks that leave so many letters of a word."""


@dataclass(frozen=True, slots=True)
class Names:
    """A column of names as the journal has them, UTF-8 and a newline each: where each starts and how long it is."""

    text: npt.NDArray[np.uint8]
    start: Ints
    length: Ints

    @classmethod
    def of_text(cls, joined: bytes) -> Self:
        """From names joined by newlines; at least one name."""
        text = np.frombuffer(b"\n".join([joined, _ROOM]), np.uint8)
        end = np.flatnonzero(text == _NEWLINE)
        start = np.r_[0, end[:-1] + 1]
        return cls(text, start, end - start)

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """From strings; at least one."""
        return cls.of_text("\n".join(names).encode())

    def __len__(self) -> int:
        return len(self.start)

    def name(self, row: int) -> str:
        """One of the names."""
        start = self.start[row]
        return bytes(self.text[start : start + self.length[row]]).decode()

    def take(self, rows: Ints) -> Self:
        """Some of the names."""
        return type(self)(self.text, self.start[rows], self.length[rows])

    def words(self, first: int, end: int) -> list[Words]:
        """Some of the names as columns of 64-bit words, filled up with zeros."""
        start, length = self.start[first:end], self.length[first:end]
        # A word begins at every letter: one look-up reads eight letters, wherever they lie.
        words = np.ndarray(len(self.text) - 7, "<u8", self.text, strides=(1,))
        return [
            words[start + place] & _FIRST_LETTERS[np.clip(length - place, 0, 8)]
            for place in range(0, int(length.max()), 8)
        ]


class NameIndex:
    """The numbers of names; numbers are above 0.

    Names are told apart by 64 bits of a hash with secret keys and by their place in the table, some 85 bits in all: two
    of two million names are taken for one with a chance of 1 in 10^13, and nobody can look for such a pair.
    """

    def __init__(self) -> None:
        self._keys = [secrets.randbits(64) | 1 for _ in range(4)]
        self._table = np.zeros(1024, np.int32)  # at a hash: the number of the name; open addressing, at most half full
        self._check = np.zeros(512, np.uint64)  # at a number: the second hash of its name
        self._place = np.zeros(512, np.uint64)  # at a number: the first hash, to build a larger table
        self._count = 0

    def find(self, names: Names) -> tuple[Ints, Ints]:
        """The number of each name, 0 for unknown ones; and the first row of each different unknown name."""
        place, check = self._hashes(names)
        numbers = self._look_up(place, check)
        unknown = np.flatnonzero(numbers == 0)
        first = np.unique(check[unknown], return_index=True)[1]
        return numbers, np.sort(unknown[first])

    def add(self, names: Names, numbers: Ints) -> None:
        """Remember new, different names under their numbers."""
        place, check = self._hashes(names)
        size = max(len(self._check), int(numbers.max()) + 1)
        if size > len(self._check):
            size += size // 4
            self._check = np.r_[self._check, np.zeros(size - len(self._check), np.uint64)]
            self._place = np.r_[self._place, np.zeros(size - len(self._place), np.uint64)]
        self._check[numbers], self._place[numbers] = check, place
        self._count += len(numbers)
        if 2 * self._count > len(self._table):
            self._table = np.zeros(1 << (3 * self._count).bit_length(), np.int32)
            numbers = np.flatnonzero(self._check)
            place = self._place[numbers]
        self._enter(place, numbers)

    def _hashes(self, names: Names) -> tuple[Words, Words]:
        place, check = np.empty(len(names), np.uint64), np.empty(len(names), np.uint64)
        for first in range(0, len(names), _PIECE):
            end = min(first + _PIECE, len(names))
            words, length = names.words(first, end), names.length[first:end]
            place[first:end] = _mixed(words, length, self._keys[0], self._keys[1])
            check[first:end] = _mixed(words, length, self._keys[2], self._keys[3]) | np.uint64(1)
        return place, check

    def _look_up(self, place: Words, check: Words) -> Ints:
        mask = len(self._table) - 1
        at = (place & np.uint64(mask)).astype(np.int64)
        numbers = self._table[at]
        rows = np.flatnonzero(self._check[numbers] != check)  # no name's check is 0, as that of number 0 is
        rows = rows[numbers[rows] != 0]
        at = at[rows]
        while len(rows):
            at = (at + 1) & mask
            found = self._table[at]
            numbers[rows] = found
            on = (found != 0) & (self._check[found] != check[rows])
            rows, at = rows[on], at[on]
        return numbers.astype(np.int64)

    def _enter(self, place: Words, numbers: Ints) -> None:
        mask = len(self._table) - 1
        at = (place & np.uint64(mask)).astype(np.int64)
        while len(numbers):
            free = self._table[at] == 0
            self._table[at[free]] = numbers[free]  # of several that want one spot the last has it
            rest = self._table[at] != numbers
            numbers, at = numbers[rest], (at[rest] + 1) & mask


def _mixed(words: list[Words], length: Ints, start: int, factor: int) -> Words:
    """A 64-bit hash of each name, by multiplying and folding; words beyond a name's end have no say."""
    hashes = np.uint64(start) ^ length.astype(np.uint64)
    by = np.uint64(factor)
    for column, word in enumerate(words):
        mixed = hashes ^ word
        mixed *= by
        mixed ^= mixed >> np.uint64(32)
        mixed *= by
        mixed ^= mixed >> np.uint64(29)
        longer = length > 8 * column
        if longer.all():
            hashes = mixed
        else:
            np.copyto(hashes, mixed, where=longer)
    return hashes
