"""The decoders of a server: who decodes large bodies, and the memory that these may have meanwhile."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import structlog

from heatfleet.api.body import Room
from heatfleet.api.decode import Batch
from heatfleet.api.decoder import ANSWER, batch_of, request_head
from heatfleet.api.form import BodyForm
from heatfleet.errors import BadMessage, Overloaded, Refused

DECODE_S = 30.0
"""A decoder that takes longer over one body hangs, and is ended."""
SOCKET_BYTES = 8 * 1024 * 1024
"""Asked for, so that a body is handed over in few steps; the kernel gives what ``net.core.wmem_max`` allows."""
TRIES = 2
"""A decoder that ends in the midst of a body was killed, or the body kills decoders: one more may try, no third."""

log = structlog.get_logger(__name__)

Done = Callable[[Batch | BadMessage | Refused], object]
"""Told once, on the loop's thread, what became of a body."""


@dataclass(slots=True)
class _Job:
    pieces: Sequence[bytes]
    form: BodyForm
    now_ms: int
    oldest_ms: int
    done: Done
    tries: int = TRIES


class Decoders:
    """Processes that decode, one body each at a time; begun when first needed. Lives on one running loop."""

    def __init__(self, bodies_bytes_max: int = 256 * 1024 * 1024) -> None:
        """Large bodies under way may take so many bytes together; beyond it they are refused for now."""
        self.room = Room(bodies_bytes_max)
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Decoder] = []
        self._busy: set[_Decoder] = set()
        self._starting: set[asyncio.Task[bool]] = set()
        self._closed = False
        self._processes_max = os.cpu_count() or 1

    def submit(self, pieces: Sequence[bytes], form: BodyForm, now_ms: int, oldest_ms: int, done: Done) -> None:
        """Have a body decoded that came in these pieces; the caller took room for it."""
        self._waiting.append(_Job(pieces, form, now_ms, oldest_ms, done))
        self._go_on()

    async def decode(self, body: bytes, form: BodyForm, now_ms: int, oldest_ms: int) -> Batch:
        """As ``submit``, for who can wait; raises ``BadMessage``, and ``Overloaded`` when the decoder was lost."""
        decoded: asyncio.Future[Batch | BadMessage | Refused] = asyncio.get_running_loop().create_future()
        self.submit([body], form, now_ms, oldest_ms, partial(_settle, decoded))
        result = await decoded
        if isinstance(result, Batch):
            return result
        try:
            raise result
        finally:
            del result, decoded  # or the error would hold this frame, and with it the body, in a circle

    async def close(self) -> None:
        """End all decoders; whoever still waits is refused."""
        self._closed = True
        self._refuse_waiting()
        await asyncio.gather(*self._starting)
        await asyncio.gather(*(decoder.end() for decoder in (*self._idle, *self._busy)))

    def free(self, decoder: "_Decoder") -> None:
        """A decoder has nothing to do."""
        self._busy.discard(decoder)
        self._idle.append(decoder)
        self._go_on()

    def lost(self, decoder: "_Decoder", job: _Job | None) -> None:
        """A decoder has ended, perhaps in the midst of a body."""
        self._busy.discard(decoder)
        if decoder in self._idle:
            self._idle.remove(decoder)
        if job is not None and job.tries and not self._closed:
            self._waiting.appendleft(job)
        elif job is not None:
            job.done(_lost())
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._idle:
            decoder = self._idle.pop()
            if decoder.is_alive():  # if not, we are told of it in a moment
                self._busy.add(decoder)
                decoder.begin(self._waiting.popleft())
        processes = len(self._busy) + len(self._idle) + len(self._starting)
        if len(self._waiting) > len(self._starting) and processes < self._processes_max:
            starting = asyncio.get_running_loop().create_task(self._start())
            self._starting.add(starting)
            starting.add_done_callback(self._started)

    def _started(self, starting: asyncio.Task[bool]) -> None:
        self._starting.discard(starting)
        if starting.result():
            self._go_on()
        elif not (self._busy or self._idle):  # if there are some, they go on: trying again at once would never end
            self._refuse_waiting()

    async def _start(self) -> bool:
        """Start one more; whether that was possible."""
        try:
            with ExitStack() as undo:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
                with theirs:
                    process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait
                        [sys.executable, "-m", "heatfleet.api.decoder"],
                        stdin=theirs.fileno(),
                    )
                ours.setblocking(False)  # noqa: FBT003
                decoder = _Decoder(self, process)
                await asyncio.get_running_loop().create_unix_connection(lambda: decoder, sock=ours)
                undo.pop_all()
        except OSError as error:
            log.error("no decoder could be started", reason=str(error))  # noqa: TRY400 - the reason says it all
            return False
        self._idle.append(decoder)
        return True

    def _refuse_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().done(_lost())


class _Decoder(asyncio.Protocol):
    """The server's end of one decoder."""

    def __init__(self, pool: Decoders, process: subprocess.Popen[bytes]) -> None:
        self._pool = pool
        self._process = process
        self._transport: asyncio.Transport
        self._job: _Job | None = None
        self._answer = bytearray()
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, job: _Job) -> None:
        self._job = job
        job.tries -= 1
        self._deadline = asyncio.get_running_loop().call_later(DECODE_S, self._give_up)
        head = request_head(sum(map(len, job.pieces)), job.form, job.now_ms, job.oldest_ms)
        self._transport.writelines([head, *job.pieces])

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if len(self._answer) < ANSWER.size:
            return
        verdict_bytes, block_bytes = ANSWER.unpack_from(self._answer)
        block_at = ANSWER.size + verdict_bytes
        if len(self._answer) < block_at + block_bytes:
            return
        whole = memoryview(self._answer)
        verdict, block = bytes(whole[ANSWER.size : block_at]), bytes(whole[block_at:])
        self._answer = bytearray()
        result = batch_of(verdict, block)
        job = self._take_job()
        if job is not None:
            job.done(result)
        self._pool.free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what matters is that it is gone
        self._process.kill()
        self._process.wait()  # reaps what is dead already, or in a moment
        job = self._take_job()
        if job is not None:
            log.error("a decoder ended in the midst of a body", code=self._process.returncode)
        self._pool.lost(self, job)
        self._ended.set_result(None)

    async def end(self) -> None:
        self._transport.abort()  # what is not yet handed over does not matter any more
        await self._ended

    def _give_up(self) -> None:
        """It hangs over this body, and so would another."""
        if self._job is not None:
            self._job.tries = 0
        self._process.kill()

    def _take_job(self) -> _Job | None:
        job, self._job = self._job, None
        if self._deadline is not None:
            self._deadline.cancel()
        return job


def _settle(decoded: "asyncio.Future[Batch | BadMessage | Refused]", result: Batch | BadMessage | Refused) -> None:
    if not decoded.done():
        decoded.set_result(result)


def _lost() -> Refused:
    return Overloaded("the body could not be decoded now; send it again later")
