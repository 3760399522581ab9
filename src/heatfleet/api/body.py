"""What a request to POST /message carries: its type, its encoding and its size, checked before it is believed."""

import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from heatfleet.api.decode import BATCH_BYTES_MAX, MESSAGE_BYTES_MAX
from heatfleet.api.problems import PROBLEMS, BadRequest
from heatfleet.errors import Overloaded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON_TYPE = "application/json"
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
ENCODINGS = ("gzip", "zstd")

_WINDOW_LOG_MAX = 23
"""8 MiB, the window that RFC 8878 asks every decoder for; a frame may ask for more memory, and is refused."""

_charset = re.compile(r"""charset\s*=\s*"?([^\s;"]*)""", re.IGNORECASE).search
_opens_array = re.compile(rb"[ \t\r\n]*\[").match


class BodyForm(NamedTuple):
    """How the body is to be read; ``encoding`` is one of ``ENCODINGS`` or empty."""

    ndjson: bool
    encoding: str


def body_form(headers: Headers) -> BodyForm:
    """What the headers say; raises ``BadRequest`` for a type, encoding or announced length not taken."""
    kind, _, parameters = headers.get("content-type", JSON_TYPE).partition(";")
    kind = kind.strip().lower()
    charset = _charset(parameters)
    if (kind != JSON_TYPE and kind not in NDJSON_TYPES) or (
        charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii")
    ):
        raise BadRequest("unsupported-type", PROBLEMS["unsupported-type"].advice)
    encoding = ",".join(headers.getlist("content-encoding")).strip().lower().removeprefix("x-")
    if encoding not in (*ENCODINGS, "identity", ""):
        raise BadRequest(
            "unsupported-encoding",
            PROBLEMS["unsupported-encoding"].advice,
            {"Accept-Encoding": ", ".join(ENCODINGS)},
        )
    if int(headers.get("content-length", 0)) > BATCH_BYTES_MAX:
        raise _too_large("batch", BATCH_BYTES_MAX)
    return BodyForm(kind in NDJSON_TYPES, encoding.removeprefix("identity"))


class Room:
    """The memory that all bodies under way may have together, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._free = bytes_max

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Gives what takes so many more bytes, until the block ends, or raises ``Overloaded``."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._free:
                raise Overloaded("too many large bodies are under way; send this again later")
            self._free -= size
            taken += size

        try:
            yield take
        finally:
            self._free += taken


async def read_body(receive: Receive, form: BodyForm, take: Callable[[int], None]) -> bytes:
    """The body as it was sent; ``take`` is asked for room for each piece, and may raise.

    Raises ``BadRequest`` as soon as it is too large, and ``ClientDisconnect``.
    """
    body = bytearray()
    size_max = BATCH_BYTES_MAX if form.ndjson or form.encoding else MESSAGE_BYTES_MAX
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = event.get("body", b"")
        take(len(piece))
        body += piece
        more = event.get("more_body", False)
        if len(body) > size_max and is_array(body):
            size_max = BATCH_BYTES_MAX
        if len(body) > size_max:
            raise _too_large("message" if size_max == MESSAGE_BYTES_MAX else "batch", size_max)
    return bytes(body)


def is_array(body: bytes | bytearray) -> bool:
    """Whether this JSON text can only be an array."""
    return not body.startswith(b"{") and _opens_array(body) is not None


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its encoding, never more than a batch may have; one gzip member or zstd frame.

    Raises ``BadRequest``: ``too-large``, or ``broken-encoding`` when it is cut short or something else.
    """
    stream = _stream(encoding)
    try:
        unpacked = stream.decompress(body, BATCH_BYTES_MAX + 1)
    except (zlib.error, zstd.ZstdError):
        raise BadRequest("broken-encoding", f"the body is not {encoding}") from None
    if len(unpacked) > BATCH_BYTES_MAX:
        raise _too_large("batch", BATCH_BYTES_MAX)
    if not stream.eof:
        raise BadRequest("broken-encoding", f"the {encoding} body is cut short")
    if stream.unused_data:
        raise BadRequest("broken-encoding", f"something follows the {encoding} body")
    return unpacked


def _stream(encoding: str) -> "zlib._Decompress | zstd.ZstdDecompressor":
    if encoding == "gzip":
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})


def _too_large(what: str, size_max: int) -> BadRequest:
    # Without "Connection: close": the rest of the body is read and thrown away, or its sender, busy with sending,
    # would find the connection reset instead of this answer.
    return BadRequest("too-large", f"a {what} may have {size_max // 1024} KiB")
