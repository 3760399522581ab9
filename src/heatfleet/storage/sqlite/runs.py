"""Runs: readings that the figures count but that are not yet in their day's file.

An hour's readings come minute by minute, for all devices each time; its table would be written again from end to end
each minute. So they wait in the main file as sorted runs, by hour and by part of the fleet, until the hour is over.
"""

from collections.abc import Iterator
from itertools import pairwise

import apsw
import numpy as np

from heatfleet.domain.slots import HOUR_MS
from heatfleet.storage.sqlite.columns import Readings, Row, order_by
from heatfleet.storage.sqlite.connect import select

PART_SHIFT = 15
"""A part of the fleet is 32,768 devices: their hour is some 700,000 readings, and fits into memory with ease."""
_KEPT_PARTS = 4
_ROW = np.dtype([("device", "<u4"), ("in_hour_ms", "<u4"), ("code", "u1"), ("value", "<f8"), ("product", "<u4")])
ROW_BYTES = _ROW.itemsize


def by_part(readings: Readings) -> Iterator[Readings]:
    """Readings taken apart by parts of the fleet, each part in the order they came."""
    part = readings.device >> PART_SHIFT
    order = order_by(part, np.arange(len(part)))
    edges = np.flatnonzero(np.diff(part[order], prepend=-1))
    for start, end in pairwise([*edges.tolist(), len(order)]):
        yield readings.take(order[start:end])


class Runs:
    """The runs of a main file, through one connection to it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._kept: dict[tuple[int, int], Readings] = {}
        self._hours: set[int] | None = None

    def hours(self) -> set[int]:
        """The hours (since 1970) that have runs."""
        if self._hours is None:
            self._hours = {hour for (hour,) in select(self._connection, "SELECT DISTINCT hour FROM run")}
        return self._hours

    def add(self, readings: Readings) -> None:
        """Put readings into runs. An identity may stand in several; ``Readings.as_set`` makes them one."""
        hour, part = readings.time_ms // HOUR_MS, readings.device >> PART_SHIFT
        order = order_by(hour << 20 | part, np.arange(len(readings)))
        group = (hour << 20 | part)[order]
        edges = np.flatnonzero(np.r_[True, np.diff(group) != 0, True]) if len(group) else group
        self._connection.executemany(
            "INSERT INTO run (hour, part, readings, body) VALUES (?, ?, ?, ?)",
            (
                (*divmod(int(group[start]), 1 << 20), int(end - start), _pack(readings.take(order[start:end])))
                for start, end in pairwise(edges)
            ),
        )
        self.forget_kept()

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
            rows = select(self._connection, "SELECT body FROM run WHERE hour = ? AND part = ?", hour, part)
            found = Readings.join([Readings.empty(), *(_unpack(hour, body) for (body,) in rows)])
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
        return Readings.join([_unpack(*select(self._connection, find, number)[0]) for number in ids])

    def drop(self, ids: list[int]) -> None:
        """Forget runs that are in place."""
        self._connection.executemany("DELETE FROM run WHERE id = ?", ((number,) for number in ids))
        self.forget_kept()


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
