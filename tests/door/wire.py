"""HTTP by hand, for what no client library would send."""

import json
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from tests.serving import RunningServer, message

WAIT_S = 30
NDJSON = "application/x-ndjson"


def request(
    body: bytes | None = None,
    method: str = "POST",
    path: str = "/message",
    kind: str = "application/json",
    version: str = "1.1",
    **fields: str,
) -> bytes:
    """A whole request; ``fields`` with underscores for dashes, an empty one is left out."""
    named = {"Host": "localhost", "Content-Type": kind if body is not None else ""}
    named |= {"Content-Length": str(len(body))} if body is not None else {}
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in named.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def readings(count: int, device_id: str = "d1") -> bytes:
    """A message of so many readings: its answer tells it from others."""
    told = ({"code": "instant_power", "time": 1_732_631_573_782 + number, "value": 1} for number in range(count))
    foreign = {"code": "mode", "value": "eco"}
    return json.dumps(message(device_id, foreign, *told)).encode()


def chunked(body: bytes, size: int = 100) -> bytes:
    """The body in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


class Answer(NamedTuple):
    """One answer; the names of its fields are in lower case, in the order they came."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def inserted(self) -> int | None:
        """What a good answer to POST /message tells."""
        found = re.fullmatch(rb'\{"status":"ok","inserted":([0-9]+)\}', self.body)
        return int(found[1]) if found else None


class Wire:
    """One connection."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = socket.create_connection((server.host, server.port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> Self:
        """Send each piece by itself; a server that has closed already is no error here."""
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def answer(self) -> Answer:
        """The next answer."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        line, *lines = head.split("\r\n")[:-2]
        assert line.startswith("HTTP/1.1 "), line
        fields = [(name.lower(), value) for name, _, value in (each.partition(": ") for each in lines)]
        status, known = int(line.split()[1]), dict(fields)
        if status == 100:
            return Answer(status, fields, b"")
        if known.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._bytes(size + 2)[:-2]
            self._bytes(2)
        else:
            body = self._bytes(int(known["content-length"]))
        return Answer(status, fields, body)

    def answers(self, count: int) -> list[Answer]:
        """The next so many answers."""
        return [self.answer() for _ in range(count)]

    def is_closed(self) -> bool:
        """Whether the server closes now, and says nothing more before."""
        return not self._read and not self._more()

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            assert self._more(), f"closed within an answer: {self._read!r}"
        head, _, self._read = self._read.partition(end)
        return bytes(head + end)

    def _bytes(self, size: int) -> bytes:
        while len(self._read) < size:
            assert self._more(), f"closed within an answer: {self._read!r}"
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._read += data
        return bool(data)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    ends = [*sorted(places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
