"""Runs: readings that the figures count but that are not yet in their day's file.

An hour's readings come minute by minute, for all devices each time; its table would be written again from end to end
each minute. So they wait in the main file as runs, by hour and by part of the fleet, until the hour is over.
"""

from collections.abc import Iterator
from typing import NamedTuple

import apsw
import numpy as np

from heatfleet.domain.slots import HOUR_MS
from heatfleet.storage.sqlite.columns import Readings, Row, order_by
from heatfleet.storage.sqlite.connect import select
from heatfleet.storage.sqlite.keys import spans

PART_BITS = 20
"""Room for the number of any part: a device's has 32 bits."""
PART_SHIFT = 15
"""A part of the fleet is 32,768 devices: their hour is some 700,000 readings, and fits into memory with ease."""
_KEPT_PARTS = 4
_NO_ID = 1 << 62
_ROW = np.dtype([("device", "<u4"), ("in_hour_ms", "<u4"), ("code", "u1"), ("value", "<f8"), ("product", "<u4")])
ROW_BYTES = _ROW.itemsize


class Runs:
    """The runs of a main file, through one connection to it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._kept: dict[tuple[int, int], Readings] = {}
        self._hours: set[int] | None = None
        self._uncounted: dict[int, list[_Run]] = {}
        self._hidden: set[int] = set()

    def hours(self) -> set[int]:
        """The hours (since 1970) that have runs which are looked at."""
        if self._hours is None:
            # What is hidden has the newest ids.
            query = "SELECT DISTINCT hour FROM run WHERE id < ?"
            self._hours = {hour for (hour,) in select(self._connection, query, min(self._hidden, default=_NO_ID))}
        return self._hours

    def add(self, readings: Readings) -> None:
        """Put readings into runs. An identity may stand in several; ``Readings.as_set`` makes them one."""
        self._look_at(self._put(readings))

    def add_uncounted(self, readings: Readings) -> None:
        """Put readings into runs that are not looked at before ``uncounted`` has told them."""
        for run in self._put(readings):
            self._uncounted.setdefault(run.part, []).append(run)
            self._hidden.add(run.number)

    def uncounted(self, readings_max: int) -> Iterator[Readings]:
        """What was added uncounted: by parts of the fleet, about so many readings at once, in the order they came.

        With the next step what the last one told is counted, and looked at like all others.
        """
        while self._uncounted:
            for some in _in_groups(self._uncounted.pop(min(self._uncounted)), readings_max):
                yield self._bodies([run.number for run in some])
                self._look_at(some)

    def _look_at(self, runs: "list[_Run]") -> None:
        """Runs are there from now on."""
        self._hidden.difference_update(run.number for run in runs)
        self.hours().update(run.hour for run in runs)
        for run in runs:
            self._kept.pop((run.hour, run.part), None)

    def _put(self, readings: Readings) -> "list[_Run]":
        place = readings.time_ms // HOUR_MS << PART_BITS | readings.device >> PART_SHIFT
        order = order_by(place, np.arange(len(readings)))
        found = []
        for where, start, end in spans(place[order]):
            hour, part = divmod(where, 1 << PART_BITS)
            self._connection.execute(
                "INSERT INTO run (hour, part, readings, body) VALUES (?, ?, ?, ?)",
                (hour, part, end - start, _pack(readings.take(order[start:end]))),
            )
            found.append(_Run(self._connection.last_insert_rowid(), hour, part, end - start))
        return found

    def forget_kept(self) -> None:
        """Look again at the next question: the table was changed or a change was taken back."""
        self._kept.clear()
        self._hours = None

    def of_device(self, device: int, hour: int) -> list[Row]:
        """One device's readings of one hour, in order of time."""
        if hour not in self.hours():
            return []
        part = self._part(hour, device >> PART_SHIFT)
        return part.take(slice(*np.searchsorted(part.device, [device, device + 1]))).rows()

    def _part(self, hour: int, part: int) -> Readings:
        kept = self._kept.pop((hour, part), None)
        if kept is None:
            ids = select(self._connection, "SELECT id FROM run WHERE hour = ? AND part = ?", hour, part)
            found = self._bodies([number for (number,) in ids if number not in self._hidden])
            kept = found.take(order_by(found.device, found.time_ms))
            if len(self._kept) == _KEPT_PARTS:
                del self._kept[next(iter(self._kept))]
        self._kept[hour, part] = kept
        return kept

    def before(self, hour: int, readings_max: int) -> Iterator[tuple[Readings, list[int]]]:
        """The runs of earlier hours, some at a time, and the ids to ``drop`` once they are in place.

        A part of an hour is never split; an answer has about ``readings_max`` readings unless a part alone has more.
        """
        ids = select(self._connection, "SELECT hour, part, id, readings FROM run WHERE hour < ? ORDER BY 1, 2, 3", hour)
        taken: list[int] = []
        size = 0
        for place, (of_hour, part, number, count) in enumerate(ids):
            taken.append(number)
            size += count
            last = place + 1 == len(ids) or (size >= readings_max and ids[place + 1][:2] != (of_hour, part))
            if last:
                yield self._bodies(taken), taken
                taken, size = [], 0

    def _bodies(self, ids: list[int]) -> Readings:
        find = "SELECT hour, body FROM run WHERE id = ?"
        bodies = (_unpack(*select(self._connection, find, number)[0]) for number in ids)
        return Readings.join([Readings.empty(), *bodies])

    def drop(self, ids: list[int]) -> None:
        """Forget runs that are in place."""
        self._connection.executemany("DELETE FROM run WHERE id = ?", ((number,) for number in ids))
        self.forget_kept()


class _Run(NamedTuple):
    number: int
    hour: int
    part: int
    readings: int


def _in_groups(runs: list[_Run], readings_max: int) -> list[list[_Run]]:
    """Neighbours that have so many readings together."""
    groups: list[list[_Run]] = []
    room = 0
    for run in runs:
        if run.readings > room:
            groups.append([])
            room = readings_max
        groups[-1].append(run)
        room -= run.readings
    return groups


def _pack(readings: Readings) -> bytes:
    rows = np.empty(len(readings), _ROW)
    rows["device"], rows["in_hour_ms"] = readings.device, readings.time_ms % HOUR_MS
    rows["code"], rows["value"], rows["product"] = readings.code, readings.value, readings.product
    return rows.tobytes()


def _unpack(hour: int, body: bytes) -> Readings:
    rows = np.frombuffer(body, _ROW)
    return Readings(
        rows["device"].astype(np.int64),
        rows["in_hour_ms"] + np.int64(hour * HOUR_MS),
        rows["code"].astype(np.int64),
        rows["value"].astype(np.float64),
        rows["product"].astype(np.int64),
    )
