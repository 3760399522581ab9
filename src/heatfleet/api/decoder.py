"""A decoder: a process that reads large bodies for the server, so that its interpreter is free for other requests.

It is given requests one after the other over the socket that is its standard input, and leaves when that is closed.
A request is a head (bytes of the body u4, now and the oldest time that is taken i8 in ms, NDJSON u1, pushed u1,
encoding u1: its place in ``ENCODINGS`` from 1, or 0; bytes of the two prefixes of the caller's bounds u1), the
prefixes, the body. An answer is a head (bytes of the verdict u4, bytes of the block u4), a ``Verdict`` as JSON, and
the block.
"""

import gc
import os
import signal
import socket
import struct
from contextlib import suppress

import msgspec

from heatfleet.api.decode import Batch
from heatfleet.api.form import ENCODINGS, BodyForm, decode
from heatfleet.domain.access import ANYTHING, Bounds
from heatfleet.errors import BadMessage
from heatfleet.storage.block import Block

REQUEST = struct.Struct("<IqqBBBBB")
ANSWER = struct.Struct("<II")
NICENESS = 5
"""A batch gives way to the messages of single devices, and waits."""


class Bad(msgspec.Struct, array_like=True):
    """A ``BadMessage`` and the index of the message, -1 for the body as a whole."""

    index: int
    kind: str
    detail: str
    pointer: str

    @classmethod
    def of(cls, index: int, error: BadMessage) -> "Bad":
        """From the error."""
        return cls(index, error.kind, error.detail, error.pointer)

    def error(self) -> BadMessage:
        """The error again."""
        return BadMessage(self.kind, self.detail, self.pointer)


class Verdict(msgspec.Struct, array_like=True):
    """A ``Batch`` without its readings, of which there are ``count``."""

    count: int
    messages: int
    dropped: int
    rejected: list[Bad]


encode_verdict = msgspec.json.Encoder().encode
decode_verdict = msgspec.json.Decoder(Verdict).decode


def request_head(size: int, form: BodyForm, now_ms: int, oldest_ms: int) -> bytes:
    """What stands before a body of so many bytes."""
    encoding = ENCODINGS.index(form.encoding) + 1 if form.encoding else 0
    device, product = (prefix.encode("ascii") for prefix in form.bounds or ANYTHING)
    head = REQUEST.pack(size, now_ms, oldest_ms, form.ndjson, form.pushed, encoding, len(device), len(product))
    return head + device + product


def batch_of(verdict_text: bytes, block: bytes) -> Batch | BadMessage:
    """The answer as what ``decode`` gives or raises."""
    verdict = decode_verdict(verdict_text)
    if verdict.rejected and verdict.rejected[0].index < 0:
        return verdict.rejected[0].error()
    rejected = [(bad.index, bad.error()) for bad in verdict.rejected]
    return Batch(Block(verdict.count, block) if block else (), verdict.messages, verdict.dropped, rejected)


def serve(server: socket.socket) -> None:
    """Answer requests until the socket is closed."""
    with suppress(EOFError):
        while True:
            head = _receive(server, REQUEST.size)
            size, now_ms, oldest_ms, ndjson, pushed, encoding, *prefix_bytes = REQUEST.unpack(head)
            bounds = Bounds(*(_receive(server, count).decode("ascii") for count in prefix_bytes))
            form = BodyForm(
                bool(ndjson),
                ENCODINGS[encoding - 1] if encoding else "",
                None if bounds == ANYTHING else bounds,
                bool(pushed),
            )
            server.sendall(_answer(_receive(server, size), form, now_ms, oldest_ms))


def _receive(server: socket.socket, size: int) -> bytes:
    """So many bytes; ``EOFError`` when the socket is closed before."""
    received = server.recv(size, socket.MSG_WAITALL)
    while len(received) < size:  # a process that was stopped in the midst of it, and goes on, has a part
        more = server.recv(size - len(received), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        received += more
    return received


def _answer(body: bytes, form: BodyForm, now_ms: int, oldest_ms: int) -> bytes:
    try:
        batch = decode(body, form, now_ms, oldest_ms)
    except BadMessage as error:
        verdict, block = Verdict(0, 0, 0, [Bad.of(-1, error)]), b""
    else:
        rejected = [Bad.of(index, error) for index, error in batch.rejected]
        verdict = Verdict(len(batch.readings), batch.messages, batch.dropped, rejected)
        block = _body_of(batch)
    text = encode_verdict(verdict)
    return b"".join((ANSWER.pack(len(text), len(block)), text, block))


def _body_of(batch: Batch) -> bytes:
    if isinstance(batch.readings, Block):
        return batch.readings.body
    return Block.of(batch.readings).body


def main() -> None:
    """Serve the socket on standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the server, which closes the socket when it is time
    os.nice(NICENESS)
    gc.disable()  # millions of short-lived objects and no cycles
    with socket.socket(fileno=0) as server:
        serve(server)


if __name__ == "__main__":
    main()
