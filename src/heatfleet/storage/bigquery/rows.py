"""Readings as rows of BigQuery: Arrow record batches made of whole columns, none of it one reading at a time."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heatfleet.storage.block import NamedColumns

ROWS_MAX = 50_000
"""Rows of one request: 8.8 MB, if all names are as long as names can be. BigQuery takes 10 MB."""

_INSTANT = pa.timestamp("us", tz="UTC")
_STAMP = (("received", _INSTANT), ("batch", pa.int64()))
_READING = (
    ("device_id", pa.string()),
    ("product_id", pa.string()),
    ("code", pa.int64()),
    ("time", _INSTANT),
    ("value", pa.float64()),
)
READING = pa.schema(_READING)
ARRIVAL = pa.schema(_STAMP + _READING)
"""Columns of the table ``arrival``, as Arrow has them."""
DEAD_LETTER = pa.schema([("received", _INSTANT), ("reason", pa.string()), ("row_json", pa.string())])
"""Columns of the table ``dead_letter``."""


def rows_of(columns: NamedColumns) -> Iterator[pa.RecordBatch]:
    """The readings by the schema ``READING``, in pieces that fit into one request each."""
    count = len(columns.code)
    whole = pa.RecordBatch.from_arrays(
        [
            _strings(columns.device_names, count),
            _strings(columns.product_names, count),
            _numbers(pa.int64(), columns.code.astype(np.int64)),
            _numbers(_INSTANT, columns.time_ms * 1000),
            _numbers(pa.float64(), columns.value),
        ],
        schema=READING,
    )
    for first in range(0, count, ROWS_MAX):
        yield whole.slice(first, ROWS_MAX)


def stamped(rows: pa.RecordBatch, received_ms: int) -> pa.RecordBatch:
    """The rows by the schema ``ARRIVAL``: all received at that instant, and in one batch that is like no other."""
    count = len(rows)
    batch = int.from_bytes(os.urandom(8), "little") >> 1
    stamps = [
        _numbers(_INSTANT, np.full(count, received_ms * 1000)),
        _numbers(pa.int64(), np.full(count, batch)),
    ]
    return pa.RecordBatch.from_arrays([*stamps, *rows.columns], schema=ARRIVAL)


def without(rows: pa.RecordBatch, places: Iterable[int]) -> pa.RecordBatch:
    """The rows less those at some places."""
    kept = np.ones(len(rows), np.bool_)
    kept[list(places)] = False
    return rows.filter(pa.array(kept))


def dead_letters(rows: pa.RecordBatch, reasons: Mapping[int, str], received_ms: int) -> pa.RecordBatch:
    """Rows that were refused, by the schema ``DEAD_LETTER``, with the reason for each of these places."""
    refused = rows.take(pa.array(reasons, pa.int64())).to_pylist()
    texts = [json.dumps(row | {"time": row["time"].isoformat()}) for row in refused]
    received = _numbers(_INSTANT, np.full(len(texts), received_ms * 1000))
    columns = [received, pa.array(reasons.values(), pa.string()), pa.array(texts, pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=DEAD_LETTER)


def _numbers(kind: pa.DataType, values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _strings(joined: bytes, count: int) -> pa.Array:
    """Names that were joined by newlines; where each begins follows from where the newlines were."""
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:-1] = ends - np.arange(count - 1)
    offsets[-1] = len(joined) - (count - 1)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(joined.replace(b"\n", b"")))
