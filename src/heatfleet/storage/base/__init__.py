"""The promises every backend keeps: ``Store`` for readings, ``Ledger`` for orders, ``KeyRing`` for API keys.

All are plain blocking objects. ``Store.append`` is called from one writer thread; everything else may be called from
any thread. Times are milliseconds since the epoch, slots are those of ``domain.slots``.
"""

from heatfleet.storage.base.key_ring import KeyRing
from heatfleet.storage.base.ledger import Ledger, Settled
from heatfleet.storage.base.store import (
    Ages,
    Backup,
    Column,
    DeviceFilter,
    DevicePage,
    DeviceState,
    Figures,
    FileCheck,
    Patience,
    Rollup,
    Store,
    StoreStatus,
)

__all__ = [
    "Ages",
    "Backup",
    "Column",
    "DeviceFilter",
    "DevicePage",
    "DeviceState",
    "Figures",
    "FileCheck",
    "KeyRing",
    "Ledger",
    "Patience",
    "Rollup",
    "Settled",
    "Store",
    "StoreStatus",
]
