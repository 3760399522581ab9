"""What the simulator's tests share: a winter's day, a clock that does not wait, and a tiny service on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from heatfleet.simulator import Clock, FaultOptions, Fleet, SimulationOptions

JANUARY_MS = round(datetime(2026, 1, 12, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000
Message = dict[str, Any]


def winter(hours: float, devices: int = 10, faults: FaultOptions | None = None, **more: Any) -> SimulationOptions:
    """A simulation of some hours in January."""
    end_ms = JANUARY_MS + round(hours * HOUR_MS)
    return SimulationOptions(devices, JANUARY_MS, end_ms, faults=faults or FaultOptions(), **more)


def lines_of(fleet: Fleet, options: SimulationOptions) -> list[bytes]:
    """All messages of a whole simulation, in order of arrival."""
    assert options.end_ms is not None
    bodies = [batch.body for batch in (*fleet.batches(options.end_ms), *fleet.last_batches())]
    return b"".join(bodies).splitlines(keepends=True)


def simulate(options: SimulationOptions) -> list[bytes]:
    """All messages of a fleet; many tests ask for the same ones, so they are kept."""
    return list(_simulated(options))


@cache
def _simulated(options: SimulationOptions) -> tuple[bytes, ...]:
    return tuple(lines_of(Fleet(options), options))


def parse(lines: Iterable[bytes]) -> list[Message]:
    """The messages as decoded JSON."""
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def winter_day() -> list[Message]:
    """What fifty devices say on a cold day when nothing goes wrong."""
    return parse(simulate(winter(24, devices=50)))


@dataclass
class Hand:
    """A clock moved by sleeping; waiting takes no time."""

    now_ms: int = JANUARY_MS + 365 * 24 * HOUR_MS
    slept_s: list[float] = field(default_factory=list)

    async def sleep(self, delay_s: float) -> None:
        """Move on, and let the others work a moment."""
        self.slept_s.append(delay_s)
        self.now_ms += round(delay_s * 1000)
        await asyncio.sleep(0.001)

    def clock(self) -> Clock:
        """The clock this hand moves."""
        return Clock(now_ms=lambda: self.now_ms, sleep=self.sleep)


@pytest.fixture
def hand() -> Hand:
    """A clock for one test."""
    return Hand()


@dataclass
class Answer:
    """An HTTP answer; with ``hang_up`` the connection is closed instead."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    stream: list[bytes] | None = None


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class TinyService:
    """Speaks just enough HTTP for the simulator; ``script`` holds answers to give before the usual ones."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.script: list[Answer] = []
        self.report: Callable[[], bytes] = lambda: b"{}"
        self.streams: list[Answer] = []
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def lines(self) -> list[bytes]:
        """Every posted line, repeated ones too, whatever was answered."""
        return [
            line
            for request in self.requests
            if request.method == "POST"
            for line in request.body.splitlines(keepends=True)
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Cut all connections."""
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, value in (row.split(":", 1) for row in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Request(method, target, headers, body))
        answer = self._answer(method, target, body)
        if answer.hang_up:
            return False
        answer.headers.setdefault("Content-Type", "application/json")
        if answer.stream is None:
            answer.headers["Content-Length"] = str(len(answer.body))
        named = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        writer.write(f"HTTP/1.1 {answer.status} Said\r\n{named}\r\n".encode() + answer.body)
        for piece in answer.stream or []:
            await writer.drain()
            await asyncio.sleep(0.002)
            writer.write(piece)
        await writer.drain()
        return answer.stream is None

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        if target.startswith("/commands/stream"):
            return self.streams.pop(0) if self.streams else Answer(404)
        if self.script:
            return self.script.pop(0)
        if method == "POST":
            return Answer(body=b'{"status":"ok","inserted":%d}' % body.count(b'"code":"'))
        return Answer(body=self.report())


@pytest.fixture
async def service() -> AsyncIterator[TinyService]:
    """A tiny service that listens on loopback."""
    tiny = TinyService()
    server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0, limit=2**24)
    tiny.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield tiny
    server.close()
    await tiny.close()
    await server.wait_closed()
