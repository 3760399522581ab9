"""From bytes to a block of readings: many messages at once, as a JSON array or one on each line (NDJSON).

The fast way decodes a piece of a batch into typed structs and checks their values as columns. A piece in which anything
is amiss, or only unusual, is read again message by message by ``decode_message``, which names what is wrong.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, compress, takewhile
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from heatfleet.api.decode import (
    MESSAGE_BYTES_MAX,
    NOT_JSON,
    Batch,
    Message,
    Property,
    broken,
    decode_message,
    decode_typed,
)
from heatfleet.domain.access import Bounds
from heatfleet.domain.messages import (
    CODES,
    ID_CHARACTERS,
    TIME_AHEAD_MS,
    TIME_MIN_MS,
    VALUE_RANGES,
    PlainReading,
)
from heatfleet.errors import BadMessage
from heatfleet.storage.block import Block, NamedColumns

BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_MESSAGES_MAX = 10_000
_PIECE_BYTES = 64 * 1024
"""Decoded at once: what is made of more outgrows the processor's cache, and takes twice as long."""
_PIECE_ITEMS = 256
_LINE_END, _OPEN, _CLOSE = b"\n{}"

_OTHER = max(CODES.values()) + 1
"""Stands for a code that is not kept."""

_decode_lines = msgspec.json.Decoder(Message).decode_lines
# An array with so many places and no more. A list has no end: 8 MiB of "1,1,1" would become 300 MB of objects.
_Places = msgspec.defstruct(
    "_Places",
    [(f"place_{number}", msgspec.Raw, None) for number in range(BATCH_MESSAGES_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,
)
_decode_places = msgspec.json.Decoder(_Places).decode

_LOW, _HIGH = (np.array([VALUE_RANGES[code][end] for code in sorted(VALUE_RANGES)]) for end in (0, 1))


def decode_batch(
    body: bytes, now_ms: int, oldest_ms: int = TIME_MIN_MS, *, ndjson: bool, bounds: Bounds | None = None
) -> Batch:
    """The readings of all good messages of a batch; the bad ones are named by index, counting no blank lines.

    Those of devices out of bounds are bad, too.

    Raises ``BadMessage``: ``broken-json`` when the array itself is broken, ``too-large`` for too many.
    """
    found = _Found(now_ms, oldest_ms, bounds)
    if ndjson:
        for piece in _pieces(body):
            if not found.all_of(_whole_lines(piece)):
                # What splits bytes into lines of its own accord knows other line ends too.
                found.each_of([line.rstrip(b"\r") for line in piece.split(b"\n") if line and not line.isspace()])
    else:
        items = _items(body)
        for start in range(0, len(items), _PIECE_ITEMS):
            part = items[start : start + _PIECE_ITEMS]
            if not found.all_of(_whole_items(part)):
                found.each_of(part)
    return found.batch()


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body cut at line ends."""
    start, size = 0, len(body)
    while start < size:
        end = body.find(b"\n", min(start + _PIECE_BYTES, size)) + 1 or size
        yield body[start:end]
        start = end


def _whole_lines(piece: bytes) -> list[Message] | None:
    """The messages of a piece, ``None`` unless each of its lines is one and nothing else."""
    if len(piece) > MESSAGE_BYTES_MAX:  # a piece ends with its last line, however long that is
        return None
    try:
        messages = _decode_lines(piece)
    except NOT_JSON:
        return None
    # The decoder takes any white space, between messages and within them: but `}` and `{` with a line end between them
    # cannot stand within one.
    text = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(text[:-1] == _LINE_END)
    one_each = len(ends) + 1 == len(messages) and (text[ends - 1] == _CLOSE).all() and (text[ends + 1] == _OPEN).all()
    return messages if one_each else None


def _whole_items(items: Sequence[bytes]) -> list[Message] | None:
    if max(map(len, items)) > MESSAGE_BYTES_MAX:
        return None
    try:
        return list(map(decode_typed, items))
    except NOT_JSON:
        return None


def _items(body: bytes) -> list[bytes]:
    try:
        places = msgspec.structs.astuple(_decode_places(body))
    except msgspec.ValidationError:
        raise _too_many() from None  # the only way in which an array can be no such array
    except NOT_JSON as error:
        raise broken(body, error) from None
    return [bytes(item) for item in takewhile(lambda item: item is not None, places)]


def _too_many() -> BadMessage:
    return BadMessage("too-large", f"a batch may have {BATCH_MESSAGES_MAX} messages")


def _names(messages: Sequence[Message]) -> tuple[bytes, bytes]:
    """Devices and products, each joined by newlines."""
    datas = [message.bizData for message in messages]
    return "\n".join([data.devId for data in datas]).encode(), "\n".join([data.productId for data in datas]).encode()


def _are_ids(names: bytes, count: int) -> bool:
    # Their length was checked with their type.
    return names.translate(None, ID_CHARACTERS) == b"\n" * (count - 1)


def _checked(
    messages: Sequence[Message],
    props: Sequence[Property],
    code: npt.NDArray[np.uint8],
    oldest_ms: int,
    newest_ms: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
    """Times and values of properties, each of its message and code; ``None`` when one may be bad."""
    times_ms, values = [prop.time for prop in props], [prop.value for prop in props]
    if None in times_ms:
        times_ms = [message.ts if time is None else time for message, time in zip(messages, times_ms, strict=True)]
    if not {int, float}.issuperset(map(type, values)):
        return None
    try:
        time_ms, value = np.array(times_ms, "<i8"), np.array(values, "<f8")
    except (TypeError, OverflowError):
        return None  # a time that is missing, a whole number that is too large
    if time_ms.min() < oldest_ms or time_ms.max() > newest_ms:
        return None
    if (value < _LOW[code]).any() or (value > _HIGH[code]).any():
        return None
    return time_ms, value + 0.0  # adding 0.0 makes -0.0 the plain zero of the definition


class _Found:
    """What was found so far in a batch."""

    def __init__(self, now_ms: int, oldest_ms: int, bounds: Bounds | None) -> None:
        self._now_ms, self._oldest_ms, self._bounds = now_ms, oldest_ms, bounds
        self._parts: list[NamedColumns] = []
        self._rejected: list[tuple[int, BadMessage]] = []
        self._items = self._dropped = 0

    def all_of(self, messages: list[Message] | None) -> bool:
        """Take these messages, unless one of them may be bad: then nothing is taken.

        One list after the other: row by row it takes twice the time.
        """
        if messages is None:
            return False
        device_names, product_names = _names(messages)
        if not (_are_ids(device_names, len(messages)) and _are_ids(product_names, len(messages))):
            return False
        bounds = self._bounds
        if bounds and not all(bounds.covers(it.bizData.devId, it.bizData.productId) for it in messages):
            return False
        lists = [message.bizData.properties for message in messages]
        props = list(chain.from_iterable(lists))
        owners = messages
        if set(map(len, lists)) != {1}:  # most messages have one property each
            owners = [message for message, of_it in zip(messages, lists, strict=True) for _ in of_it]
        codes = [CODES.get(prop.code, _OTHER) for prop in props]
        dropped = codes.count(_OTHER)
        if dropped:
            is_kept = [code != _OTHER for code in codes]
            owners, props = list(compress(owners, is_kept)), list(compress(props, is_kept))
            codes = list(compress(codes, is_kept))
        if owners is not messages:
            device_names, product_names = _names(owners)
        if props:
            code = np.frombuffer(bytes(codes), np.uint8)
            checked = _checked(owners, props, code, self._oldest_ms, self._now_ms + TIME_AHEAD_MS)
            if checked is None:
                return False
            self._parts.append(NamedColumns(device_names, product_names, code, *checked))
        self._count(len(messages))
        self._dropped += dropped
        return True

    def each_of(self, items: Sequence[bytes]) -> None:
        """Take each of these messages that is good."""
        readings: list[PlainReading] = []
        for item in items:
            try:
                message = decode_message(item, self._now_ms, self._oldest_ms, self._bounds)
            except BadMessage as error:
                # Not the one that was raised: its traceback would hold all of this, in a circle.
                self._rejected.append((self._items, BadMessage(error.kind, error.detail, error.pointer)))
            else:
                readings += cast("list[PlainReading]", message.readings)
                self._dropped += message.dropped
            self._count(1)
        if readings:
            self._parts.append(NamedColumns.of(readings))

    def batch(self) -> Batch:
        """All that was found."""
        readings = Block.join(self._parts) if self._parts else ()
        return Batch(readings, self._items - len(self._rejected), self._dropped, self._rejected)

    def _count(self, items: int) -> None:
        self._items += items
        if self._items > BATCH_MESSAGES_MAX:
            raise _too_many()
