"""What a request to POST /message carries: its type, its encoding and its size, checked before it is believed."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from heatfleet.api.batch import BATCH_BYTES_MAX
from heatfleet.api.decode import MESSAGE_BYTES_MAX
from heatfleet.api.envelope import PUSH_BYTES_MAX, is_array
from heatfleet.api.form import ENCODINGS, BodyForm, too_large
from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import BadRequest
from heatfleet.domain.access import Bounds
from heatfleet.errors import Overloaded

JSON_TYPE = "application/json"
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

_charset = re.compile(r"""charset\s*=\s*"?([^\s;"]*)""", re.IGNORECASE).search


def body_form(headers: Headers, bounds: Bounds | None, *, pushed: bool = False) -> BodyForm:
    """What the headers say, and the caller's bounds; ``BadRequest`` for a type, encoding or length not taken.

    A ``pushed`` body may be longer, and has no encoding.
    """
    kind, _, parameters = headers.get("content-type", JSON_TYPE).partition(";")
    kind = kind.strip().lower()
    charset = _charset(parameters)
    if (kind != JSON_TYPE and kind not in NDJSON_TYPES) or (
        charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii")
    ):
        raise BadRequest("unsupported-type", PROBLEMS["unsupported-type"].advice)
    encoding = ",".join(headers.getlist("content-encoding")).strip().lower().removeprefix("x-")
    taken = ("identity",) if pushed else ENCODINGS
    if encoding not in (*taken, "identity", ""):
        raise BadRequest(
            "unsupported-encoding",
            PROBLEMS["unsupported-encoding"].advice,
            {"Accept-Encoding": ", ".join(taken)},
        )
    if int(headers.get("content-length", 0)) > (PUSH_BYTES_MAX if pushed else BATCH_BYTES_MAX):
        raise too_large("batch", BATCH_BYTES_MAX)
    return BodyForm(kind in NDJSON_TYPES, encoding.removeprefix("identity"), bounds, pushed)


class Room:
    """The memory that all large bodies under way may have together, in bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._free = bytes_max

    def take(self, size: int) -> None:
        """Take so much of it until it is given back; raises ``Overloaded`` when there is less."""
        if size > self._free:
            raise Overloaded("too many large bodies are under way; send this again later")
        self._free -= size

    def give_back(self, size: int) -> None:
        """What was taken is free again."""
        self._free += size

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Gives what takes so many more bytes, until the block ends, or raises ``Overloaded``."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.take(size)
            taken += size

        try:
            yield take
        finally:
            self.give_back(taken)


async def read_body(receive: Receive, form: BodyForm, take: Callable[[int], None]) -> bytes:
    """The body as it was sent; ``take`` is asked for room for each piece, and may raise.

    Raises ``BadMessage``, ``too-large``, as soon as it is, and ``ClientDisconnect``.
    """
    body = bytearray()
    size_max = BATCH_BYTES_MAX if form.ndjson or form.encoding else MESSAGE_BYTES_MAX
    size_max = PUSH_BYTES_MAX if form.pushed else size_max
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
            # Without "Connection: close": the rest of the body is read and thrown away, or its sender, busy with
            # sending, would find the connection reset instead of this answer.
            too_long = "message" if size_max == MESSAGE_BYTES_MAX else "batch"
            raise too_large(too_long, min(size_max, BATCH_BYTES_MAX))
    return bytes(body)
