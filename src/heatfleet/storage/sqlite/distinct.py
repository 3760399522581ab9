"""Counts of distinct devices, from the maps of ``heard``: in a slot, and in the hour and the day that end with it."""

from dataclasses import dataclass
from itertools import groupby

import apsw
import numpy as np

from heatfleet.domain.slots import SLOTS_PER_DAY, SLOTS_PER_HOUR
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.heard import Bits, unpacked

BYTES_AT_ONCE = 16_384
"""Of each map; a day of such pieces stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Behind:
    """What lies before a slot: the maps of the last 3 slots, and of all from each of the last 95 on in one."""

    newest: Bits
    tails: Bits


class Counter:
    """Writes the counts. Kept from rollup to rollup, since reading a day of maps takes seconds with a large fleet."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._now = 0
        self._behind_now: dict[int, Behind] = {}

    def count(self, changed: set[tuple[int, int]], counted_until: int, last_slot: int) -> None:
        """Count the distinct devices anew wherever a changed map, or one whose slot has begun since, has a say.

        ``changed`` are pairs of slot and product. ``last_slot`` is the slot of now, ``counted_until`` what it was the
        time before: maps after it do not count yet. The hour that now lies in is counted to its end, wherever a time
        zone ends it: its coverage is of the whole hour.
        """
        begun: list[tuple[int, int]] = []
        if last_slot != counted_until:
            recent = "SELECT slot, product FROM heard WHERE slot > ? AND slot <= ?"
            begun = select(self._connection, recent, counted_until - SLOTS_PER_DAY, last_slot)
        self._forget(changed, last_slot)
        wanted: dict[int, set[int]] = {}
        end = last_slot + SLOTS_PER_HOUR
        for maps, first in ((changed, 0), (begun, counted_until + 1)):
            done: dict[int, int] = {}
            for slot, product in sorted(maps):
                if slot <= last_slot:
                    start = max(slot, first, done.get(product, 0))
                    done[product] = min(slot + SLOTS_PER_DAY, end)
                    wanted.setdefault(product, set()).update(range(start, done[product]))
        for product, slots in wanted.items():
            for _, part in groupby(sorted(slots), lambda slot: slot // SLOTS_PER_DAY):  # this bounds the memory
                self._count(product, list(part), last_slot)

    def _forget(self, changed: set[tuple[int, int]], last_slot: int) -> None:
        if last_slot != self._now:
            self._now = last_slot
            self._behind_now.clear()
        for slot, product in changed:
            if slot < last_slot:
                self._behind_now.pop(product, None)

    def _count(self, product: int, wanted: list[int], last_slot: int) -> None:
        first, end = wanted[0], wanted[-1] + 1
        here = self._maps(product, first, end, last_slot)
        behind = self._behind(product, first, end - first, last_slot)
        width = max(here.shape[1], behind.tails.shape[1])
        columns = (_widened(here, width), _widened(behind.newest, width), _widened(behind.tails, width))
        counts = np.zeros((3, end - first), np.int64)
        for low in range(0, width, BYTES_AT_ONCE):
            for row, window in enumerate(_windows(*(column[:, low : low + BYTES_AT_ONCE] for column in columns))):
                counts[row] += np.bitwise_count(window).sum(axis=1, dtype=np.int64)
        self._write([(slot, product, *counts[:, slot - first].tolist()) for slot in wanted])

    def _behind(self, product: int, first: int, slots: int, last_slot: int) -> Behind:
        """What lies before ``first``, for the windows that end with one of that many slots from there on."""
        behind = self._behind_now.get(product) if first == last_slot else None
        if behind is None:
            heard = self._maps(product, first - SLOTS_PER_DAY + 1, first, last_slot)
            newest = heard[-SLOTS_PER_HOUR + 1 :].copy()
            from_the_end = heard[::-1]
            np.bitwise_or.accumulate(from_the_end, out=from_the_end)
            behind = Behind(newest, heard[: max(slots, SLOTS_PER_HOUR)].copy())
            if first == last_slot:
                self._behind_now[product] = behind
        return behind

    def _maps(self, product: int, first: int, end: int, last_slot: int) -> Bits:
        """The maps of the slots ``[first, end)``, a row each; of those that have not begun, and of none, empty ones."""
        find = "SELECT slot, devices FROM heard WHERE product = ? AND slot >= ? AND slot < ?"
        found = select(self._connection, find, product, first, min(end, last_slot + 1))
        maps = {slot: unpacked(body) for slot, body in found}
        heard = np.zeros((end - first, max(map(len, maps.values()), default=0)), np.uint8)
        for slot, bits in maps.items():
            heard[slot - first, : len(bits)] = bits
        return heard

    def _write(self, rows: list[tuple[int, ...]]) -> None:
        self._connection.executemany(
            """INSERT INTO slot_sum VALUES (?1, ?2, 0, 0, 0, 0, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET devices = ?3, devices_hour = ?4, devices_day = ?5""",
            [row for row in rows if row[4]],
        )
        self._connection.executemany(
            "UPDATE slot_sum SET devices = 0, devices_hour = 0, devices_day = 0 WHERE slot = ? AND product = ?",
            [row[:2] for row in rows if not row[4]],
        )


def _widened(maps: Bits, width: int) -> Bits:
    return np.pad(maps, ((0, 0), (0, width - maps.shape[1])))


def _windows(here: Bits, newest: Bits, tails: Bits) -> tuple[Bits, Bits, Bits]:
    """For each row of ``here`` its devices, and all of the 4 and of the 96 rows that end with it."""
    rows = len(here)
    both = np.concatenate([newest, here])
    hour = here.copy()
    for start in range(SLOTS_PER_HOUR - 1):
        hour |= both[start : start + rows]
    # A day's window is a tail of the rows behind, and a head of those that follow.
    day = np.bitwise_or.accumulate(here)
    with_tail = min(rows, SLOTS_PER_DAY - 1)
    day[:with_tail] |= tails[:with_tail]
    return here, hour, day
