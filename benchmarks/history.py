"""A store with a year in it: as many readings as asked for, of a fleet that sends 500 messages a device and day."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.fleet import READINGS_AN_HOUR, Columns, MadeUpFleet
from benchmarks.kept_rollup import kept_rollup
from benchmarks.results import Unmeasurable
from benchmarks.store_files import fill_journal
from heatfleet.domain.slots import DAY_MS

READINGS_A_DAY = 24 * READINGS_AN_HOUR
READINGS_A_STEP = 20_000_000
"""What waits in the journal at once: some gigabyte."""


class History:
    """Days of a fleet in a store, ready to be asked about."""

    def __init__(self, folder: Path, readings: int, days: int) -> None:
        """Write and roll up the days before today; takes some 4 s a million readings."""
        self.today = datetime.now(UTC).date()
        self.first = self.today - timedelta(days=days)
        self.fleet = MadeUpFleet(max(2, round(readings / READINGS_A_DAY / days)))
        self.readings = 0
        began_s = time.monotonic()
        with kept_rollup(folder) as rollup:
            for first, end in self._steps():
                filled = fill_journal(folder, self.fleet, self._days(first, end), a_commit=5_000)
                done = rollup.up_to(midnight_ms(end))
                if done["readings"] < filled * 0.99:  # a change of power in the same millisecond is one
                    raise Unmeasurable(f"the rollup took {done['readings']} of {filled} readings")
                self.readings += int(done["readings"])
                if time.monotonic() > began_s + 30:
                    print(f"history: {self.readings:,} of {readings:,} readings are in", file=sys.stderr, flush=True)

    def _steps(self) -> Iterator[tuple[date, date]]:
        days = max(1, READINGS_A_STEP // (self.fleet.devices * READINGS_A_DAY))
        first = self.first
        while first < self.today:
            end = min(self.today, first + timedelta(days=days))
            yield first, end
            first = end

    def _days(self, first: date, end: date) -> Iterator[Columns]:
        # A day at a time, or less of a great fleet: a piece has at most some million readings.
        hours = max(1, min(24, 2_000_000 // (self.fleet.devices * READINGS_AN_HOUR)))
        return self.fleet.by_minute(midnight_ms(first), midnight_ms(end), hours * 3_600_000)


def midnight_ms(day: date) -> int:
    """The instant at which a UTC day begins."""
    return (day - date(1970, 1, 1)).days * DAY_MS
