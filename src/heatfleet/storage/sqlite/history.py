"""What devices have said, as far as the figures count it: the day files, the runs, and what removed days left."""

from collections.abc import Iterator

from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.storage.sqlite.carried import Carried
from heatfleet.storage.sqlite.columns import Row
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.runs import Runs


class History:
    """All places of readings. A reading may be in two for a moment; ``Readings.as_set`` makes such ones one."""

    def __init__(self, days: DayFiles, runs: Runs, carried: Carried) -> None:
        self._days = days
        self._runs = runs
        self._carried = carried

    def of_device(self, device: int, start_ms: int, end_ms: int) -> Iterator[Row]:
        """One device's readings in ``[start_ms, end_ms)``, in order of time; hours are read as they are asked for."""
        for hour in self._hours_between(start_ms, end_ms):
            yield from self._in_hour(device, hour, start_ms, end_ms)

    def newest_before(self, device: int, time_ms: int, since_ms: int, code: int | None = None) -> list[Row]:
        """What a device said at the newest instant of ``[since_ms, time_ms)`` at which it spoke, in one code or any."""
        for hour in reversed(self._hours_between(since_ms, time_ms)):
            rows = [row for row in self._in_hour(device, hour, since_ms, time_ms) if code in (None, row[2])]
            if rows:
                return [row for row in rows if row[1] == rows[-1][1]]
        rows = [row for row in self._carried.of_device(device) if row[1] < time_ms and code in (None, row[2])]
        return [row for row in rows if row[1] == rows[-1][1]]

    def _in_hour(self, device: int, hour: int, start_ms: int, end_ms: int) -> list[Row]:
        rows = self._days.of_device(device, hour) + self._runs.of_device(device, hour)
        return sorted((row for row in rows if start_ms <= row[1] < end_ms), key=lambda row: row[1])

    def _hours_between(self, start_ms: int, end_ms: int) -> list[int]:
        """The hours that touch ``[start_ms, end_ms)`` and may have readings."""
        hours = {hour for hour in self._runs.hours() if start_ms < (hour + 1) * HOUR_MS and hour * HOUR_MS < end_ms}
        for day in self._days.days():
            if day * DAY_MS < end_ms and start_ms < (day + 1) * DAY_MS:
                hours.update(range(max(day * 24, start_ms // HOUR_MS), min(day * 24 + 24, -(-end_ms // HOUR_MS))))
        return sorted(hours)
