"""Closed days as Parquet files: a quarter of the size, and whole in themselves for any tool that reads Parquet.

A row is a reading, in order of device and time. ``device`` and ``product`` are the numbers of the main file,
``device_id`` and ``product_id`` their names. A row group holds whole devices, and an index in the footer tells the
first one of each, so that one device's day is found by reading one group. This module alone imports pyarrow, when it is
needed.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from heatfleet.domain.messages import CODE_NAMES, TEMPERATURE
from heatfleet.domain.slots import HOUR_MS
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage.sqlite.columns import Readings, Row
from heatfleet.storage.sqlite.connect import unavailable_as_error

_INDEX = b"heatfleet"
"""The footer's own entry, as JSON: ``store``, and of each row group the ``first`` device; ``last`` of all."""
_NUMBERS = ["device", "time", "code", "value", "product"]
_TEMPERATURE_NAME = CODE_NAMES[TEMPERATURE]


def arrow() -> Any:
    """The library, with its Parquet part; ``SetupError`` when it is not installed."""
    try:
        import pyarrow.compute  # noqa: PLC0415 - large, and optional
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        msg = 'archives need pyarrow: pip install "heatfleet[archive]"'
        raise SetupError(msg) from None
    return pyarrow


class Archive:
    """One archived day, open for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _damaged_as_error(path):
            self._file = arrow().parquet.ParquetFile(path)
            index = json.loads(self._file.metadata.metadata[_INDEX])
            self.store = int(index["store"])
            self.last_device = int(index["last"])
            self._first: list[int] = [int(device) for device in index["first"]]
        self._kept: tuple[int, list[Row]] = (-1, [])
        self._kept_group: tuple[int, Readings] | None = None

    @property
    def groups(self) -> int:
        """The number of row groups."""
        return len(self._first)

    def of_device(self, device: int, start_ms: int) -> list[Row]:
        """One device's readings of the hour that starts then; the device's day is kept for its next hour."""
        if self._kept[0] != device:
            number = bisect_right(self._first, device) - 1
            if self._kept_group is None or self._kept_group[0] != number:
                group = self.group(number) if number >= 0 else Readings.empty()
                # Who asks for a second device asks for many, one after the other; most ask for one.
                self._kept_group = None if self._kept[0] < 0 else (number, group)
            else:
                group = self._kept_group[1]
            self._kept = device, _of_devices(group, device, device + 1).rows()
        return [row for row in self._kept[1] if start_ms <= row[1] < start_ms + HOUR_MS]

    def between(self, first: int, end: int) -> Readings:
        """The readings of the devices ``[first, end)``."""
        groups = range(max(0, bisect_right(self._first, first) - 1), bisect_right(self._first, end - 1))
        return _of_devices(Readings.join([Readings.empty(), *map(self.group, groups)]), first, end)

    def group(self, number: int) -> Readings:
        """All readings of one row group."""
        with _damaged_as_error(self._path):
            table = self._file.read_row_group(number, columns=_NUMBERS, use_threads=False)
            code = arrow().compute.equal(table["code"], _TEMPERATURE_NAME)
            numbers = {name: table[name].to_numpy() for name in ("device", "time", "value", "product")}
        return Readings(
            numbers["device"].astype(np.int64),
            numbers["time"].astype(np.int64),
            code.to_numpy().astype(np.int64),
            numbers["value"],
            numbers["product"].astype(np.int64),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _of_devices(readings: Readings, first: int, end: int) -> Readings:
    return readings.take(slice(*np.searchsorted(readings.device, [first, end])))


class ArchiveWriter:
    """Writes one archive, a row group at a time; on disk once ``finish`` returns."""

    def __init__(self, path: Path, store: int) -> None:
        self._path = path
        self._index: dict[str, Any] = {"store": store, "first": [], "last": 0}
        self._lib = lib = arrow()
        named = lib.dictionary(lib.int32(), lib.string())
        self._schema = lib.schema(
            {
                "device_id": named,
                "time": lib.timestamp("ms", tz="UTC"),
                "code": named,
                "value": lib.float64(),
                "product_id": named,
                "device": lib.int32(),
                "product": lib.int32(),
            }
        )
        with unavailable_as_error(path):
            self._writer = lib.parquet.ParquetWriter(
                path,
                self._schema,
                compression="zstd",
                compression_level=1,  # more makes it no smaller
                use_dictionary=[name for name in self._schema.names if name != "time"],
                column_encoding={"time": "DELTA_BINARY_PACKED"},
                dictionary_pagesize_limit=8 << 20,
                write_statistics=[
                    "device_id",
                    "time",
                ],  # of all columns, they would double the time to open a large file
            )

    def add(self, readings: Readings, device_names: Mapping[int, str], product_names: Mapping[int, str]) -> None:
        """Write whole devices (``Readings.as_set``), which follow those before."""
        columns = {
            "device_id": self._named(readings.device, device_names),
            "time": self._lib.array(readings.time_ms, self._schema.field("time").type),
            "code": self._named(readings.code, CODE_NAMES),
            "value": readings.value,
            "product_id": self._named(readings.product, product_names),
            "device": readings.device.astype(np.int32),
            "product": readings.product.astype(np.int32),
        }
        with unavailable_as_error(self._path):
            self._writer.write_table(self._lib.table(columns, schema=self._schema), row_group_size=len(readings))
        self._index["first"].append(int(readings.device[0]))
        self._index["last"] = int(readings.device[-1])

    def _named(self, numbers: Any, names: Mapping[int, str]) -> Any:
        different, place = np.unique(numbers, return_inverse=True)
        told = self._lib.array([names[number] for number in different.tolist()], self._lib.string())
        return self._lib.DictionaryArray.from_arrays(place.astype(np.int32), told)

    def finish(self) -> None:
        """Write the footer, and wait for the disk."""
        with unavailable_as_error(self._path):
            self._writer.add_key_value_metadata({_INDEX.decode(): json.dumps(self._index)})
            self._writer.close()
            with self._path.open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Let go of the file, finished or not."""
        with unavailable_as_error(self._path):
            self._writer.close()


def checksum(readings: Readings) -> tuple[int, int]:
    """How many readings there are, and a number that hangs on every one of them but not on their order."""
    mixed = np.zeros(len(readings), np.uint64)
    columns = (readings.device, readings.time_ms, readings.code, readings.value, readings.product)
    for column in columns:
        mixed = (mixed ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return len(readings), int(mixed.sum(dtype=np.uint64))


@contextmanager
def _damaged_as_error(path: Path) -> Iterator[None]:
    lib = arrow()
    with unavailable_as_error(path):
        try:
            yield
        except (lib.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's word; one without a number is the library's, for bytes that it cannot make out
            msg = f"{path}: the file is damaged; stop the server and restore it from a backup"
            raise StoreUnavailable(msg, retry_after_s=60) from error
