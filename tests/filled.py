"""Stores that hold years of figures, for tests that ask for long reports."""

from pathlib import Path

import apsw

from heatfleet.domain.slots import SLOTS_PER_DAY

FIRST_SLOT = 1_577_836_800 // 900  # 2020-01-01
DAYS_PER_YEAR = 366  # that year's


def fill_figures(path: Path, years: int) -> None:
    """Write so many years of figures of the fleet from 2020 on, a Wh in every quarter, beside whoever reads."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(30_000)
    connection.execute(
        "WITH RECURSIVE slots (slot) AS (SELECT ?1 UNION ALL SELECT slot + 1 FROM slots LIMIT ?2)"
        " INSERT INTO slot_sum SELECT slot, (SELECT id FROM product WHERE name = ''),"
        " 3600000, 900000, 18000000000, 900000, 1, 1, 1 FROM slots",
        (FIRST_SLOT, years * DAYS_PER_YEAR * SLOTS_PER_DAY),
    )
    connection.close()
