"""Figures made by hand, as a store would give them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from heatfleet.domain.slots import SLOT_MS, SLOT_S
from heatfleet.storage.base import Figures

WH_MJ = 3_600_000
FAR_MS = 2**50


def slot(instant: str) -> int:
    """The slot that starts at an instant in UTC."""
    return int(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp()) // SLOT_S


@dataclass
class Row:
    """One slot of hand-made figures: by default one device that takes 4 W all the time, 1 Wh a slot."""

    slot: int
    energy_mj: int = WH_MJ
    known_ms: int = SLOT_MS
    temperature_mc_ms: int = 20_000 * SLOT_MS
    temperature_known_ms: int = SLOT_MS
    devices: int = 1
    devices_hour: int = 1
    devices_day: int = 1


def figures(rows: Iterable[Row], as_of_ms: int = FAR_MS) -> Figures:
    """The rows as a store gives them."""
    rows = list(rows)
    names = [name for name in Figures.__slots__ if name != "as_of_ms"]
    return Figures(
        **{name: np.array([getattr(row, name) for row in rows], np.int64) for name in names}, as_of_ms=as_of_ms
    )
