"""Load that does not wait for answers: messages are due at a rate, whatever the server does with those before.

A process of its own: ``python -m tests.load.open_loop PORT RATE SECONDS CONNECTIONS [PATIENCE]``. Each message is of
a device of its own and goes out on a connection that has nothing in flight; where none is free it waits, and its wait
counts. With ``storm`` as PATIENCE a refused message is sent again at once, whatever ``Retry-After`` says. It tells what
came of it as JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

ROOT = Path(__file__).parents[2]
LAST_WAIT_S = 30.0
_TICK_S = 0.002
_FIRST_MS = 1_732_631_573_782
_BODY = (
    '{"bizCode":"devicePropertyMessage","bizData":{"devId":"d%08d","productId":"p1","properties":'
    '[{"code":"instant_power","time":%d,"value":1000}]}}'
)
_HEAD = "POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@dataclass
class Outcome:
    """What came of a load: answers by status, refusals without a good ``Retry-After``, requests that were cut off.

    ``stored`` are the numbers of the messages that were answered with 200, ``latency_s`` how long after they were
    due. ``unanswered`` were due and got no final answer until some time after the end.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    due: int = 0
    unanswered: int = 0
    broken: int = 0
    bare: int = 0
    duration_s: float = 0.0
    stored: list[int] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)

    def percentile_ms(self, part: float) -> float:
        """The latency that this part of the stored messages kept below."""
        ordered = sorted(self.latency_s)
        return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("inf")

    @property
    def stored_per_s(self) -> float:
        """Messages stored in a second."""
        return len(self.stored) / self.duration_s


class _Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._read = b""
        self.number = 0
        self.due_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def send(self, number: int, due_s: float) -> None:
        self.number, self.due_s = number, due_s
        body = _BODY % (number, _FIRST_MS + number)
        self.transport.write((_HEAD % len(body) + body).encode())

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found or len(rest) < int(_value(head, b"content-length") or b"0"):
            return
        self._read = b""
        self._load.answered(self, int(head[9:12]), _value(head, b"retry-after"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(self)


def _value(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]


class _Load:
    def __init__(self, *, storm: bool) -> None:
        self.outcome = Outcome()
        self._storm = storm
        self._statuses: Counter[str] = Counter()
        self._idle: list[_Client] = []
        self._busy: set[_Client] = set()
        self._due: deque[tuple[int, float]] = deque()
        self._loop = asyncio.get_running_loop()

    async def run(self, port: int, rate: float, seconds: float, connections: int) -> Outcome:
        for _ in range(connections):
            _, client = await self._loop.create_connection(lambda: _Client(self), "127.0.0.1", port)
            self._idle.append(client)
        began_s = self._loop.time()
        outcome = self.outcome
        while (now_s := self._loop.time()) < began_s + seconds:
            while outcome.due < (now_s - began_s) * rate:
                self._due.append((outcome.due, began_s + outcome.due / rate))
                outcome.due += 1
            self._go_on()
            await asyncio.sleep(_TICK_S)
        outcome.duration_s = now_s - began_s
        stored_within = len(outcome.stored)
        self._storm = False
        while (self._busy or self._due) and self._loop.time() < began_s + seconds + LAST_WAIT_S:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)
        # What is stored after the end counts as stored, and not for the rate.
        outcome.duration_s *= len(outcome.stored) / max(1, stored_within)
        outcome.unanswered = len(self._busy) + len(self._due)
        outcome.statuses = dict(self._statuses)
        return outcome

    def answered(self, client: _Client, status: int, retry_after: bytes) -> None:
        self._statuses[str(status)] += 1
        if status == 200:
            self.outcome.stored.append(client.number)
            self.outcome.latency_s.append(self._loop.time() - client.due_s)
        elif not (retry_after.isdigit() and int(retry_after) >= 1):
            self.outcome.bare += 1
        elif self._storm:
            client.send(client.number, client.due_s)
            return
        self._busy.discard(client)
        self._idle.append(client)
        self._go_on()

    def lost(self, client: _Client) -> None:
        if client in self._idle:
            self._idle.remove(client)  # it had nothing to say for longer than a server waits
        else:
            self._busy.discard(client)
            self.outcome.broken += 1

    def _go_on(self) -> None:
        while self._idle and self._due:
            client = self._idle.pop()
            self._busy.add(client)
            client.send(*self._due.popleft())


def offer(port: int, rate: float, seconds: float, connections: int, *, storm: bool = False) -> Outcome:
    """Offer so many messages a second to the server at this port, from another process."""
    words = map(str, (port, rate, seconds, connections, "storm" if storm else "patient"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.load.open_loop", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return Outcome(**json.loads(run.stdout))


async def _main(port: int, rate: float, seconds: float, connections: int, *, storm: bool) -> None:
    outcome = await _Load(storm=storm).run(port, rate, seconds, connections)
    sys.stdout.write(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    _port, _rate, _seconds, _connections, _patience = sys.argv[1:]
    uvloop.run(_main(int(_port), float(_rate), float(_seconds), int(_connections), storm=_patience == "storm"))
