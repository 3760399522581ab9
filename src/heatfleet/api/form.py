"""The forms that a body of messages may have, and how each is read: by a decoder process, or here and now."""

import sys
import zlib
from typing import NamedTuple

from heatfleet.api.batch import BATCH_BYTES_MAX, decode_batch
from heatfleet.api.decode import Batch, decode_message
from heatfleet.api.envelope import is_array, is_lines, unwrap
from heatfleet.domain.access import Bounds
from heatfleet.errors import BadMessage

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = ("gzip", "zstd")

_WINDOW_LOG_MAX = 23
"""8 MiB, the window that RFC 8878 asks every decoder for; a frame may ask for more memory, and is refused."""


class BodyForm(NamedTuple):
    """How the body is to be read; ``encoding`` is one of ``ENCODINGS`` or empty, ``bounds`` those of the caller.

    A ``pushed`` one is what Pub/Sub pushes; then the rest says nothing.
    """

    ndjson: bool
    encoding: str
    bounds: Bounds | None = None
    pushed: bool = False


def decode(body: bytes, form: BodyForm, now_ms: int, oldest_ms: int) -> Batch:
    """The request as a batch, held to these instants; a bad single message is raised as ``BadMessage``."""
    if form.pushed:
        return decode_published(unwrap(body), now_ms, oldest_ms)
    if form.encoding:
        body = unpack(body, form.encoding)
    if form.ndjson or is_array(body):
        return decode_batch(body, now_ms, oldest_ms, ndjson=form.ndjson, bounds=form.bounds)
    return decode_message(body, now_ms, oldest_ms, form.bounds)


def decode_published(data: bytes, now_ms: int, oldest_ms: int) -> Batch:
    """As ``decode``, of what was published to Pub/Sub: one message, an array, or one on each line."""
    if len(data) > BATCH_BYTES_MAX:
        raise too_large("batch", BATCH_BYTES_MAX)
    return decode(data, BodyForm(is_lines(data) and not is_array(data), ""), now_ms, oldest_ms)


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its encoding, never more than a batch may have; one gzip member or zstd frame.

    Raises ``BadMessage``: ``too-large``, or ``broken-encoding`` when it is cut short or something else.
    """
    stream = _stream(encoding)
    try:
        unpacked = stream.decompress(body, BATCH_BYTES_MAX + 1)
    except (zlib.error, zstd.ZstdError):
        raise BadMessage("broken-encoding", f"the body is not {encoding}") from None
    if len(unpacked) > BATCH_BYTES_MAX:
        raise too_large("batch", BATCH_BYTES_MAX)
    if not stream.eof:
        raise BadMessage("broken-encoding", f"the {encoding} body is cut short")
    if stream.unused_data:
        raise BadMessage("broken-encoding", f"something follows the {encoding} body")
    return unpacked


def _stream(encoding: str) -> "zlib._Decompress | zstd.ZstdDecompressor":
    if encoding == "gzip":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})


def too_large(what: str, size_max: int) -> BadMessage:
    """The refusal of a message or batch above its size."""
    return BadMessage("too-large", f"a {what} may have {size_max // 1024} KiB")
