"""One connection: answers plain ``POST /message`` itself, and leaves everything else to uvicorn."""

import asyncio
from collections import deque
from math import inf
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from heatfleet.api.body import BodyForm
from heatfleet.api.decode import Batch
from heatfleet.api.door.guard import Guard
from heatfleet.api.door.heads import HEAD_BYTES_MAX, REQUEST_LINE, Plain
from heatfleet.api.message import decode
from heatfleet.errors import BadMessage, Refused
from heatfleet.wiring import Services


class Door(Guard):
    """Cuts plain requests out of the stream; gives the bytes of all others to uvicorn, a whole request at least.

    A request is *plain* as ``heads.judge`` says. Plain requests may follow each other without waiting for answers.
    While uvicorn is at work on a request, it gets all bytes; while answers to plain ones are owed, a request for
    uvicorn is held. So answers leave in the order of the requests, without a queue for both kinds.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        services: Services = app_state["services"]
        self._ingest, self._clock, self._oldest_ms = services.ingest, services.clock, services.store.oldest_ms
        self._heads = self._hall.heads
        self._begun = b""  # a head that is not complete
        self._plain: Plain | None = None  # the head of a body that is not complete
        self._body = bytearray()
        # Requests that wait for the disk, and answers that wait behind them for their turn.
        self._owed: deque[Batch | bytes] = deque()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, by the way it belongs to."""
        if self._over or self._held is not None or self._inside or self._answering():
            super().data_received(data)
        elif self._plain is not None:
            self._complete(self._plain, data)
        elif self._begun:
            self._cut(self._begun + data)
        else:
            self._cut(data)

    def _cut(self, data: bytes) -> None:
        """Take the requests that begin here."""
        start, size = 0, len(data)
        while True:
            end = data.find(b"\r\n\r\n", start, start + HEAD_BYTES_MAX) + 4
            plain = self._heads.get(data[start:end]) or self._look_at(data, start, end)
            if plain is None:
                return
            self._begun = b""
            start = end + plain.length
            if start > size:
                self._plain, self._body = plain, bytearray()
                self.due_s = self._hall.now_s + self._limits.body_s
                self._complete(plain, data[end:])
                return
            self._take(data[end:start], plain.form)
            if start == size or self.transport.is_closing():
                return

    def _look_at(self, data: bytes, start: int, end: int) -> Plain | None:
        """A head that was not seen before; ``None`` when it is taken care of. ``end`` is 3 when it is not all here."""
        # Looking at the line first spares the long way's heads a second parsing.
        if REQUEST_LINE.startswith(data[start : start + len(REQUEST_LINE)]):
            if end > 3:
                plain = self._heads.learn(data[start:end])
                if plain is not None:
                    return plain
            elif len(data) - start < HEAD_BYTES_MAX:
                if start or not self._begun:
                    self.due_s = self._hall.now_s + self._limits.head_s
                self._begun = data[start:]
                return None
        self._begun = b""
        self._hand_over(data[start:])
        return None

    def _complete(self, plain: Plain, data: bytes) -> None:
        """More of a body that did not come in one piece."""
        self._body += data
        self.due_s += len(data) / self._limits.body_bytes_per_s
        if len(self._body) >= plain.length:
            body, rest = bytes(self._body[: plain.length]), bytes(self._body[plain.length :])
            self._plain = None
            self._take(body, plain.form)
            if rest:
                self._cut(rest)

    def _take(self, body: bytes, form: BodyForm) -> None:
        """One whole request."""
        try:
            now_ms = self._clock()
            batch = decode(body, form, now_ms, self._oldest_ms(now_ms))
            if batch.readings:
                self._ingest.put(batch.readings, self._stored)
                self._owed.append(batch)
                self.due_s = inf
                return
            self._ingest.check()
            answer = self._hall.answered(batch, self._metrics)
        except BadMessage as error:
            answer = self._hall.refused(self._ingest.refusal() or error, self._metrics)
        except Refused as error:
            answer = self._hall.refused(error, self._metrics)
        if self._owed:
            self._owed.append(answer)
        else:
            self._write(answer)
            self._rest()

    def _stored(self, error: Refused | None) -> None:
        """The oldest request that waits for the disk is on it, or was refused by it."""
        batch = self._owed.popleft()
        # A request that was refused waits behind one that is stored, never before it.
        assert not isinstance(batch, bytes)  # noqa: S101
        if error is None:
            self._write(self._hall.answered(batch, self._metrics))
        else:
            self._write(self._hall.refused(error, self._metrics))
        while self._owed and isinstance(answer := self._owed[0], bytes):
            self._owed.popleft()
            self._write(answer)
        if not self._owed:
            self._rest()

    def _write(self, answer: bytes) -> None:
        """Write an answer, unless the client is gone: uvloop raises then, and others wait for their answers."""
        if self.transport.is_closing():
            return
        if self._leaving and not self._owed and self._held is None:
            if b"\r\nconnection: close\r\n" not in answer:
                answer = answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
            self.transport.write(answer)
            self._close()
        else:
            self.transport.write(answer)

    def _rest(self) -> None:
        """Nothing is owed on the short way: the next move is the client's, or that of what was held."""
        if self._over or self.transport.is_closing():
            return
        if self._plain is None and not self._begun:
            self.due_s = self._hall.now_s + self._limits.idle_s
        if self._held is not None:
            self._release(self._held)

    def _hand_over(self, data: bytes) -> None:
        """Give a request, and whatever follows it, to uvicorn; not before all earlier ones are answered."""
        if self._owed:
            self._hold(data)
        else:
            self._parse(data)

    def _is_inside(self) -> bool:
        return bool(self._begun) or self._plain is not None or super()._is_inside()

    def _refuse(self, reason: str) -> None:
        if not self._owed:
            super()._refuse(reason)
            return
        self._over = self._leaving = True
        self._owed.append(self._hall.last_words(reason, self._metrics))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more; it still gets the answers to what it sent."""
        if not self._owed:
            return super().eof_received()
        self.shutdown()
        return True
