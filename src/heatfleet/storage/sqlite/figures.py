"""The tables of figures: exact sums by slot, what is still ahead, and which devices were heard.

All functions run inside the rollup's one transaction on the main file.
"""

import zlib
from collections.abc import Iterable
from itertools import groupby, pairwise

import apsw
import numpy as np
import numpy.typing as npt

from heatfleet.domain.slots import SLOTS_PER_DAY, SLOTS_PER_HOUR
from heatfleet.storage.sqlite.columns import Ints, order_by
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.fleet import FLEET
from heatfleet.storage.sqlite.integrate import Pieces, Sums, add

Bits = npt.NDArray[np.uint8]
Known = dict[tuple[int, int], Ints]
"""Devices known in a slot under a product: (slot, product) -> device numbers."""


def with_fleet(sums: Sums) -> Sums:
    """The sums of the products, and beside them those of the whole fleet."""
    total = Sums(sums.slot, np.full(len(sums), FLEET, np.int64), sums.energy_mj, sums.known_ms,
                 sums.temperature_mc_ms, sums.temperature_known_ms)  # fmt: skip
    return add([sums, total])


def add_sums(connection: apsw.Connection, change: Sums) -> None:
    """Add a change (of products and fleet) to the figures."""
    connection.executemany(
        """INSERT INTO slot_sum (slot, product, energy_mj, known_ms, temperature_mc_ms, temperature_known_ms)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6)
           ON CONFLICT DO UPDATE SET energy_mj = energy_mj + ?3, known_ms = known_ms + ?4,
               temperature_mc_ms = temperature_mc_ms + ?5, temperature_known_ms = temperature_known_ms + ?6""",
        _rows(change),
    )


def swap_ahead(connection: apsw.Connection, ahead: Sums) -> Sums:
    """Put a new idea of what is ahead in the place of the old; gives what that adds to the figures."""
    old = connection.execute("SELECT * FROM ahead").fetchall()
    connection.execute("DELETE FROM ahead")
    connection.executemany("INSERT INTO ahead VALUES (?, ?, ?, ?, ?, ?)", _rows(ahead))
    if not old:
        return ahead.negated()
    return add([Sums(*(np.array(column, np.int64) for column in zip(*old, strict=True))), ahead.negated()])


def drop_empty(connection: apsw.Connection, after_slot: int) -> None:
    """Delete the rows after a slot that adding and taking away left with nothing."""
    connection.execute(
        "DELETE FROM slot_sum WHERE product IN (SELECT id FROM product) AND slot > ?"
        " AND known_ms = 0 AND temperature_known_ms = 0 AND devices_day = 0",
        (after_slot,),
    )


def _rows(sums: Sums) -> Iterable[tuple[int, ...]]:
    columns = (sums.slot, sums.product, sums.energy_mj, sums.known_ms, sums.temperature_mc_ms,
               sums.temperature_known_ms)  # fmt: skip
    return zip(*(column.tolist() for column in columns), strict=True)


def known_devices(pieces: Pieces) -> Known:
    """The devices with known power, by (slot, product), under their product and under the fleet."""
    with_power = pieces.take(pieces.known_ms > 0)
    if not len(with_power):
        return {}
    found: Known = {}
    fleet = np.full(len(with_power), FLEET, np.int64)
    for product in (with_power.product, fleet):
        order = order_by(with_power.slot, product)
        slot, product_sorted, device = with_power.slot[order], product[order], with_power.device[order]
        edges = np.flatnonzero(np.r_[True, (np.diff(slot) != 0) | (np.diff(product_sorted) != 0), True])
        for start, end in pairwise(edges):
            found[int(slot[start]), int(product_sorted[start])] = device[start:end]
    return found


def mark_heard(connection: apsw.Connection, gone: Known, come: Known) -> set[int]:
    """Take out and put in devices of the maps; gives the slots in which a map changed."""
    changed: set[int] = set()
    for slot, product in sorted(gone.keys() | come.keys()):
        row = connection.execute("SELECT devices FROM heard WHERE slot = ? AND product = ?", (slot, product)).get
        before = _unpack(row)
        after = _with_bits(before, gone.get((slot, product)), come.get((slot, product)))
        if not np.array_equal(before, after):
            changed.add(slot)
            connection.execute(
                "INSERT INTO heard VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET devices = ?3",
                (slot, product, zlib.compress(after.tobytes(), 1)),
            )
    return changed


def _with_bits(bits: Bits, gone: Ints | None, come: Ints | None) -> Bits:
    size = len(bits) if come is None else max(len(bits), int(come.max()) // 8 + 1)
    after = np.zeros(size, np.uint8)
    after[: len(bits)] = bits
    if gone is not None:
        np.bitwise_and.at(after, gone >> 3, ~(1 << (gone & 7)).astype(np.uint8))
    if come is not None:
        np.bitwise_or.at(after, come >> 3, (1 << (come & 7)).astype(np.uint8))
    return after


def _unpack(body: bytes | None) -> Bits:
    return np.frombuffer(b"" if body is None else zlib.decompress(body), np.uint8)


def count_devices(connection: apsw.Connection, changed: set[int], counted_until: int, last_slot: int) -> None:
    """Count the distinct devices anew wherever a changed map, or one whose slot has begun since, has a say.

    ``last_slot`` is the slot of now, ``counted_until`` what it was the time before: maps after it do not count yet.
    The hour that now lies in is counted to its end, wherever a time zone ends it: its coverage is of the whole hour.
    """
    begun = []
    if last_slot != counted_until:
        recent = "SELECT DISTINCT slot FROM heard WHERE slot > ? AND slot <= ?"
        begun = select(connection, recent, counted_until - SLOTS_PER_DAY, last_slot)
    touched = [(slot, slot) for slot in changed] + [(slot, max(slot, counted_until + 1)) for (slot,) in begun]
    last_counted = last_slot + SLOTS_PER_HOUR - 1
    wanted = sorted(
        {
            later
            for slot, first in touched
            if slot <= last_slot
            for later in range(first, min(slot + SLOTS_PER_DAY, last_counted + 1))
        }
    )
    products = [row[0] for row in connection.execute("SELECT id FROM product")]
    for _, part in groupby(wanted, lambda slot: slot // SLOTS_PER_DAY):  # a day at a time bounds the memory
        slots = list(part)
        for product in products:
            _count_range(connection, product, slots, last_slot)


def _count_range(connection: apsw.Connection, product: int, wanted: list[int], last_slot: int) -> None:
    first, end = wanted[0] - SLOTS_PER_DAY + 1, wanted[-1] + 1
    find = "SELECT slot, devices FROM heard WHERE product = ? AND slot >= ? AND slot < ?"
    maps = {slot: _unpack(body) for slot, body in select(connection, find, product, first, min(end, last_slot + 1))}
    if not maps:
        return
    heard = np.zeros((end - first, max(map(len, maps.values()))), np.uint8)
    for slot, bits in maps.items():
        heard[slot - first, : len(bits)] = bits
    hour, day = _windows(heard)
    counts = [np.bitwise_count(window).sum(axis=1, dtype=np.int64).tolist() for window in (heard, hour, day)]
    rows = [(slot, product, *(count[slot - first] for count in counts)) for slot in wanted]
    connection.executemany(
        """INSERT INTO slot_sum VALUES (?1, ?2, 0, 0, 0, 0, ?3, ?4, ?5)
           ON CONFLICT DO UPDATE SET devices = ?3, devices_hour = ?4, devices_day = ?5""",
        [row for row in rows if row[4]],
    )
    connection.executemany(
        "UPDATE slot_sum SET devices = 0, devices_hour = 0, devices_day = 0 WHERE slot = ? AND product = ?",
        [row[:2] for row in rows if not row[4]],
    )


def _windows(heard: npt.NDArray[np.uint8]) -> tuple[Bits, Bits]:
    """For each row, all devices of the 4 and of the 96 rows that end with it: unions doubled step by step."""

    def union(window: Bits, other: Bits, later: int) -> Bits:
        both = window.copy()
        both[later:] |= other[: len(other) - later] if later < len(other) else 0
        return both

    two = union(heard, heard, 1)
    hour = union(two, two, 2)
    thirty_two = hour
    for width in (4, 8, 16):
        thirty_two = union(thirty_two, thirty_two, width)
    sixty_four = union(thirty_two, thirty_two, 32)
    return hour, union(sixty_four, thirty_two, 64)
