"""Which devices' power was known in a slot, by product and for the fleet: the maps of the table ``heard``.

The maps are there to count distinct devices, which cannot be added up from slot to slot.
"""

import zlib
from itertools import pairwise

import apsw
import numpy as np
import numpy.typing as npt

from heatfleet.domain.slots import SLOT_MS, SLOTS_PER_DAY
from heatfleet.storage.sqlite.columns import Ints, order_by
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.fleet import FLEET
from heatfleet.storage.sqlite.integrate import Pieces

Bits = npt.NDArray[np.uint8]
Known = dict[tuple[int, int], Ints]
"""Devices known in a slot under a product: (slot, product) -> device numbers."""
PUT_AT_ONCE = 1_000_000
MAPS_IN_MEMORY = 512
"""A map of two million devices is 250 kB."""


def known_devices(parts: Pieces) -> Known:
    """The devices with known power, by (slot, product), under their product and under the fleet."""
    parts = parts.take(parts.known_ms > 0)
    if not len(parts):
        return {}
    device, slot, product = parts.device, parts.slot, parts.product
    again = (np.diff(device) == 0) & (np.diff(slot) == 0) & (np.diff(product) == 0)
    once = np.flatnonzero(np.r_[True, ~again])
    device, slot, product = device[once], slot[once], product[once]
    order = order_by(slot, product)
    device, slot, product = device[order], slot[order], product[order]
    found: Known = {}
    begins = np.diff(slot) != 0
    for start, end in pairwise(np.flatnonzero(np.r_[True, begins | (np.diff(product) != 0), True]).tolist()):
        found[int(slot[start]), int(product[start])] = device[start:end]
    for start, end in pairwise(np.flatnonzero(np.r_[True, begins, True]).tolist()):
        found[int(slot[start]), FLEET] = device[start:end]
    return found


def first_untold(as_of_ms: int) -> int:
    """The first slot of which nothing has passed by then, so that no map tells of words that hold into it."""
    return -(-as_of_ms // SLOT_MS)


class Heard:
    """The maps that one transaction looks at and changes, unpacked; ``write`` puts them back.

    Maps before ``first_slot`` stay as they are.
    """

    def __init__(self, connection: apsw.Connection, first_slot: int = 0) -> None:
        self._connection = connection
        self._first_slot = first_slot
        self._maps: dict[tuple[int, int], Bits] = {}
        self._to_write: set[tuple[int, int]] = set()
        self._to_put: dict[tuple[int, int], list[Ints]] = {}
        self._waiting = 0
        self.changed: set[tuple[int, int]] = set()

    def put(self, known: Known) -> None:
        """Add devices to the maps; many at once, as most parts of a fleet were known in the same slots."""
        for key, device in known.items():
            self._to_put.setdefault(key, []).append(device)
            self._waiting += len(device)
        if self._waiting > PUT_AT_ONCE:
            self._put()

    def _put(self) -> None:
        for key, devices in self._to_put.items():
            self._change(key, np.concatenate(devices), there=True)
        self._to_put.clear()
        self._waiting = 0

    def take_out(self, known: Known) -> None:
        """Take devices out of the maps."""
        self._put()
        for key, device in known.items():
            self._change(key, device, there=False)

    def recount_after_first(self) -> None:
        """Let the first day be counted anew: who was known in the day before it still counts there."""
        day_before = "SELECT slot, product FROM heard WHERE slot > ? AND slot < ?"
        found = select(self._connection, day_before, self._first_slot - SLOTS_PER_DAY, self._first_slot)
        self.changed.update(found)

    def _change(self, key: tuple[int, int], device: Ints, *, there: bool) -> None:
        if key[0] < self._first_slot:
            return
        low, end = int(device.min()) >> 3, (int(device.max()) >> 3) + 1
        marks = np.zeros((end - low) << 3, np.bool_)
        marks[device - (low << 3)] = True
        bits = np.packbits(marks, bitorder="little")
        here = self._map(key, end)[low:end]
        after = here | bits if there else here & ~bits
        if not np.array_equal(here, after):
            here[:] = after
            self._to_write.add(key)
            self.changed.add(key)

    def _map(self, key: tuple[int, int], size: int) -> Bits:
        bits = self._maps.get(key)
        if bits is None:
            if len(self._maps) >= MAPS_IN_MEMORY:
                self._write()
            bits = unpacked(
                self._connection.execute("SELECT devices FROM heard WHERE slot = ? AND product = ?", key).get
            )
        if len(bits) < size:
            longer = np.zeros(max(size, 2 * len(bits)), np.uint8)  # parts of the fleet come one after the other
            longer[: len(bits)] = bits
            bits = longer
        elif not bits.flags.writeable:
            bits = bits.copy()
        self._maps[key] = bits
        return bits

    def write(self) -> None:
        """Put what was changed into the table, and forget all maps."""
        self._put()
        self._write()

    def _write(self) -> None:
        self._connection.executemany(
            "INSERT INTO heard VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET devices = ?3",
            ((*key, zlib.compress(self._maps[key].tobytes().rstrip(b"\0"), 1)) for key in sorted(self._to_write)),
        )
        self._maps.clear()
        self._to_write.clear()


def unpacked(body: bytes | None) -> Bits:
    """One map of the table, empty for one that is not there."""
    return np.frombuffer(b"" if body is None else zlib.decompress(body), np.uint8)
