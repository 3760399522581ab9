"""What every store of readings and figures promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from heatfleet.domain.access import ANYTHING, Bounds
from heatfleet.errors import ReportTooSlow
from heatfleet.storage.block import Block

Column = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures by slot, as columns of equal length in ascending order of slot.

    ``energy_mj`` mJ; ``known_ms`` device-milliseconds with known power; ``temperature_mc_ms`` (°C / 1000) x ms over
    ``temperature_known_ms``. ``devices``, ``devices_hour`` and ``devices_day`` count the distinct devices whose power
    was known in the slot, in the 4 and in the 96 slots that end with it. A slot in which nothing is known may be
    present with zeros. Everything is counted up to ``as_of_ms``, the instant of the last rollup.
    """

    slot: Column
    energy_mj: Column
    known_ms: Column
    temperature_mc_ms: Column
    temperature_known_ms: Column
    devices: Column
    devices_hour: Column
    devices_day: Column
    as_of_ms: int

    @classmethod
    def of_table(cls, table: npt.NDArray[np.int64], as_of_ms: int) -> Self:
        """From an array with one row for each of the eight columns, in their order."""
        return cls(table[0], table[1], table[2], table[3], table[4], table[5], table[6], table[7], as_of_ms)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What is known of one device: its newest values (W, °C) with their times, ``None`` where never told."""

    device_id: str
    product_id: str
    power_w: float | None
    power_time_ms: int | None
    temperature_c: float | None
    temperature_time_ms: int | None
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Which devices to list: every part that is not ``None`` must fit.

    ``known`` compares the last reading with ``now_ms`` less the hold; ``on`` means a newest power above 0 W.
    """

    product_id: str | None = None
    known: bool | None = None
    on: bool | None = None
    bounds: Bounds = ANYTHING


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Some devices and the ``position`` to go on from, ``None`` at the end."""

    devices: Sequence[DeviceState]
    position: int | None


@dataclass(frozen=True, slots=True)
class Rollup:
    """What one rollup did: readings taken from the journal, those of them that came late, and the seconds it took."""

    as_of_ms: int
    readings: int
    late: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store is: ``lag_ms`` is the age of the oldest accepted reading that no figure counts yet (0 for none).

    ``as_of_ms`` is the instant of the last rollup, 0 before the first. Readings before ``kept_from_ms`` were removed;
    0: none ever was.
    """

    as_of_ms: int
    lag_ms: int
    devices: int
    kept_from_ms: int


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a store: its ``folder``, the ``main`` file in it, and the bytes of each file by its name in there.

    ``left_out`` names files that were found in the store's folder and are none of its own.
    """

    folder: Path
    main: Path
    files: Mapping[str, int]
    left_out: Sequence[str]
    duration_s: float


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One file of a store looked at: whether it is ``sound``, what was found, and what to do where it is not."""

    name: str
    sound: bool
    found: str
    fix: str = ""


class Ages(NamedTuple):
    """After how many days readings are removed, and after how many they are archived; 0: never."""

    retention_days: int = 0
    archive_after_days: int = 0


class Patience:
    """Whether somebody still waits for what is being read: a reading asks now and then. Any thread may end it."""

    def __init__(self) -> None:
        self._is_over = False

    def __call__(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_over

    def end(self) -> None:
        """Nobody waits any more."""
        self._is_over = True

    def check(self) -> None:
        """Raise ``ReportTooSlow`` if nobody waits any more."""
        if self._is_over:
            raise ReportTooSlow("the report took too long; ask for a shorter range, or again later", retry_after_s=5)


class Store(Protocol):
    """Readings in, figures out."""

    def append(self, blocks: Sequence[Block], received_ms: int) -> None:
        """Make packed readings durable: they survive a power cut once this returns.

        Raises ``StoreUnavailable`` when they were not kept, none of them; the same call may be repeated, and a
        reading appended twice counts once.
        """

    @property
    def set_aside(self) -> int:
        """How many readings were appended since the store was opened that its database would not have.

        They held up no others and are kept apart, with the reasons; no figure counts them.
        """

    def rollup(self, now_ms: int) -> Rollup:
        """Bring the figures up to date with all that was appended before the call, counted up to ``now_ms``.

        May be repeated and interrupted at any point: nothing is lost and nothing counts twice. Raises
        ``AnotherRollup`` when one is at work elsewhere.
        """

    def as_of_ms(self) -> int:
        """The instant of the last rollup, whoever made it, 0 before the first; cheaper than a rollup."""

    def rebuild(self, now_ms: int) -> Rollup:
        """Throw every derived figure away and make it again from the readings; readers see the old ones until then.

        Figures older than the readings that are kept stay as they are.
        """

    def make_room(self) -> bool:
        """Archive and remove readings that are old enough, in one small piece; whether there may be more to do.

        To be called after a rollup. May be interrupted at any point. No figure changes, but those of single devices,
        which are reckoned from readings, end where the readings end.
        """

    def oldest_ms(self, now_ms: int) -> int:
        """The instant before which readings must be refused, since their neighbours are gone.

        It goes back only if the clock does by more than a day, and never to what was removed.
        Never before ``domain.messages.TIME_MIN_MS``. Cheap: asked for every message.
        """

    def figures(
        self,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of the fleet, or of one product, over ``[first_slot, end_slot)``; ``None`` is open.

        Raises ``ReportTooSlow`` soon after the ``patience`` is over.
        """

    def device_figures(
        self,
        device_id: str,
        first_slot: int | None = None,
        end_slot: int | None = None,
        product_id: str | None = None,
        patience: Patience | None = None,
    ) -> Figures:
        """Figures of one device, from its own readings only; no slots for a device never heard of.

        Raises ``ReportTooSlow`` soon after the ``patience`` is over.
        """

    def device(self, device_id: str) -> DeviceState | None:
        """What the last rollup knew of one device; ``None`` for one never heard of."""

    def devices(self, wanted: DeviceFilter, *, now_ms: int, position: int = 0, limit: int = 100) -> DevicePage:
        """At most ``limit`` devices that fit, in order of their first appearance, after ``position``."""

    def products(self, device_ids: Sequence[str]) -> Mapping[str, str]:
        """The product that each of these devices was last heard as; those never heard of are left out."""

    def status(self, now_ms: int) -> StoreStatus:
        """How far the figures have come."""

    def check(self) -> None:
        """Raise ``StoreUnavailable`` if the store cannot answer now, ``SetupError`` if its hold is another."""

    def close(self) -> None:
        """Let go of files and locks; what was appended stays durable."""
