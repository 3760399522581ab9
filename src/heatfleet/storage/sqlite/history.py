"""What devices have said, as far as the figures count it: the day files, the runs, and what removed days left."""

from collections.abc import Iterator

from heatfleet.domain.slots import HOUR_MS
from heatfleet.storage.base import Patience
from heatfleet.storage.sqlite.carried import Carried
from heatfleet.storage.sqlite.columns import Row
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.runs import Runs


class History:
    """All places of readings. A reading may be in two for a moment; ``Readings.as_set`` makes such ones one."""

    def __init__(self, days: DayFiles, runs: Runs, carried: Carried, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._days = days
        self._runs = runs
        self._carried = carried

    def of_device(self, device: int, start_ms: int, end_ms: int) -> Iterator[Row]:
        """One device's readings in ``[start_ms, end_ms)``, in order of time; hours are read as they are asked for."""
        for hour in self._hours_between(start_ms, end_ms):
            yield from self._in_hour(device, hour, start_ms, end_ms)

    def newest_before(self, device: int, time_ms: int, since_ms: int, code: int | None = None) -> list[Row]:
        """What a device said at the newest instant of ``[since_ms, time_ms)`` at which it spoke, in one code or any."""
        for hour in self._hours_between(since_ms, time_ms, newest_first=True):
            rows = [row for row in self._in_hour(device, hour, since_ms, time_ms) if code in (None, row[2])]
            if rows:
                return [row for row in rows if row[1] == rows[-1][1]]
        rows = [row for row in self._carried.of_device(device) if row[1] < time_ms and code in (None, row[2])]
        return [row for row in rows if row[1] == rows[-1][1]]

    def _in_hour(self, device: int, hour: int, start_ms: int, end_ms: int) -> list[Row]:
        self._patience.check()
        rows = self._days.of_device(device, hour) + self._runs.of_device(device, hour)
        return sorted((row for row in rows if start_ms <= row[1] < end_ms), key=lambda row: row[1])

    def _hours_between(self, start_ms: int, end_ms: int, *, newest_first: bool = False) -> Iterator[int]:
        """The hours that touch ``[start_ms, end_ms)`` and may have readings, in order."""
        first, last, step = start_ms // HOUR_MS, (end_ms - 1) // HOUR_MS, -1 if newest_first else 1
        in_files, in_runs = self._days.days(), self._runs.hours()
        days = {day for day in in_files if first // 24 <= day <= last // 24}
        days_of_runs = {hour // 24 for hour in in_runs if first <= hour <= last}
        for day in sorted(days | days_of_runs)[::step]:
            hours = range(max(day * 24, first), min(day * 24 + 23, last) + 1)
            yield from (hour for hour in hours[::step] if day in days or hour in in_runs)
