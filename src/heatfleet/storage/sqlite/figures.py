"""The table of figures: exact sums by slot.

All functions run inside the rollup's one transaction on the main file.
"""

from collections.abc import Iterable

import apsw
import numpy as np

from heatfleet.storage.sqlite.fleet import FLEET
from heatfleet.storage.sqlite.integrate import Sums, add


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
