"""Many readings as one block of bytes: how they travel from a decoder to a store, and lie in a journal.

A block is, little-endian: a head of 20 bytes (format version u1, 3 unused, count u4, bytes of device names u4, bytes of
product names u4, CRC-32 of the rest u4), then the columns: time i8[n] (ms), value f8[n], code u1[n], device names and
product names as UTF-8 joined by newlines.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from heatfleet.domain.messages import PlainReading
from heatfleet.errors import StoreUnavailable

FORMAT = 1
_HEAD = struct.Struct("<B3xIIII")


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """Readings as columns, as they came: names (UTF-8, joined by newlines) not yet numbered, repetitions included."""

    device_names: bytes
    product_names: bytes
    code: npt.NDArray[np.uint8]
    time_ms: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    @classmethod
    def of(cls, readings: Sequence[PlainReading]) -> Self:
        """From readings; at least one."""
        devices, products, codes, times_ms, values = zip(*readings, strict=True)
        return cls(
            "\n".join(devices).encode(),
            "\n".join(products).encode(),
            np.frombuffer(bytes(codes), np.uint8),
            np.array(times_ms, "<i8"),
            np.array(values, "<f8"),
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Packed readings; its length is their number."""

    count: int
    body: bytes

    def __len__(self) -> int:
        """The number of readings."""
        return self.count

    @classmethod
    def of(cls, readings: Sequence[PlainReading]) -> Self:
        """Readings packed."""
        return cls.join([NamedColumns.of(readings)]) if readings else cls(0, b"")

    @classmethod
    def join(cls, parts: Sequence[NamedColumns]) -> Self:
        """All parts packed as one block; at least one."""
        names = b"\n".join([part.device_names for part in parts])
        product_names = b"\n".join([part.product_names for part in parts])
        columns = b"".join(
            [
                *(part.time_ms.tobytes() for part in parts),
                *(part.value.tobytes() for part in parts),
                *(part.code.tobytes() for part in parts),
                names,
                product_names,
            ]
        )
        count = sum(len(part.code) for part in parts)
        return cls(count, _HEAD.pack(FORMAT, count, len(names), len(product_names), zlib.crc32(columns)) + columns)


def unpack(*bodies: bytes) -> NamedColumns:
    """What was packed in one block or in many; ``StoreUnavailable`` for a body that is not what it was."""
    times, values, codes, device_names, product_names = zip(*map(_columns, bodies), strict=True)
    return NamedColumns(
        device_names=b"\n".join(device_names),
        product_names=b"\n".join(product_names),
        code=np.frombuffer(b"".join(codes), np.uint8),
        time_ms=np.frombuffer(b"".join(times), "<i8"),
        value=np.frombuffer(b"".join(values), "<f8"),
    )


def _columns(body: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The columns of a block as they lie in it: there are thousands of short ones, and each array costs."""
    version, count, names_bytes, product_bytes, crc = _HEAD.unpack_from(body)
    if version != FORMAT or zlib.crc32(memoryview(body)[_HEAD.size :]) != crc:
        msg = "a row of the journal is damaged or of an unknown format; restore the store from a backup"
        raise StoreUnavailable(msg, retry_after_s=60)
    values_at = _HEAD.size + 8 * count
    codes_at = values_at + 8 * count
    names_at = codes_at + count
    products_at = names_at + names_bytes
    return (
        body[_HEAD.size : values_at],
        body[values_at:codes_at],
        body[codes_at:names_at],
        body[names_at:products_at],
        body[products_at : products_at + product_bytes],
    )
