"""One connection: answers plain ``POST /message`` itself, and leaves everything else to uvicorn."""

import asyncio
from collections import deque
from functools import partial
from math import inf
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from heatfleet.access import Caller
from heatfleet.api.decode import Batch
from heatfleet.api.decoders import Decoders
from heatfleet.api.door.guard import Guard
from heatfleet.api.door.heads import HEAD_BYTES_MAX, REQUEST_LINE, Plain
from heatfleet.api.form import decode
from heatfleet.api.gate import Gate
from heatfleet.api.message import IN_LOOP_BYTES_MAX
from heatfleet.errors import BadMessage, HeatfleetError, NotAllowed, Refused, TooMany
from heatfleet.wiring import Services


class Door(Guard):
    """Cuts plain requests out of the stream; gives the bytes of all others to uvicorn, a whole request at least.

    A request is *plain* as ``heads.judge`` says. Plain requests may follow each other without waiting for answers.
    While uvicorn is at work on a request, it gets all bytes; while answers to plain ones are owed, a request for
    uvicorn is held, and so is whatever follows a large body until that is decoded. So answers leave in the order of the
    requests, without a queue for all kinds.
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
        self._access = services.access
        self._ingest, self._clock, self._oldest_ms = services.ingest, services.clock, services.store.oldest_ms
        self._decoders: Decoders = app_state["decoders"]
        self._heads, self._gate = self._hall.heads, cast("Gate", app_state["gate"])
        self._begun = b""  # a head that is not complete
        self._usual_head_bytes = 0  # most heads of a connection are equal, and need not be searched for their end
        self._plain: Plain | None = None  # the head of a body that is not complete
        self._pieces: list[bytes] = []
        self._missing = 0  # bytes of that body
        self._room_taken = 0
        # Requests that wait for the disk, and answers that wait behind them for their turn; None is being decoded.
        self._owed: deque[Batch | bytes | None] = deque()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, by the way it belongs to."""
        running = self._running  # not asked by `_answering()`: this is for every message
        if self._over or self._held is not None or self._inside or (running and not running.response_complete):
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
            end = start + self._usual_head_bytes
            plain = self._heads.get(data[start:end])
            if plain is None:
                end = data.find(b"\r\n\r\n", start, start + HEAD_BYTES_MAX) + 4
                plain = self._heads.get(data[start:end]) or self._look_at(data, start, end)
                if plain is None:
                    return
                self._usual_head_bytes = end - start
            self._begun = b""
            if plain.length > IN_LOOP_BYTES_MAX and not self._makes_room(plain):
                self._hand_over(data[start:])  # there it is refused in the same words, whatever it costs
                return
            start = end + plain.length
            if start > size or plain.length > IN_LOOP_BYTES_MAX:
                self._plain, self._pieces, self._missing = plain, [], plain.length
                self.due_s = self._hall.now_s + self._limits.body_s
                self._complete(plain, data[end:])
                return
            self._take(data[end:start], plain)
            if start == size or self.transport.is_closing():
                return

    def _makes_room(self, plain: Plain) -> bool:
        """Take room for a large body, if it would be taken at all."""
        if self._ingest.refusal() is not None:
            return False
        try:
            plain.caller.check_messages()
            self._decoders.room.take(plain.length)
        except Refused:
            return False
        self._room_taken = plain.length
        return True

    def _give_room_back(self) -> None:
        self._decoders.room.give_back(self._room_taken)
        self._room_taken = 0

    def _look_at(self, data: bytes, start: int, end: int) -> Plain | None:
        """A head that was not seen before; ``None`` when it is taken care of. ``end`` is 3 when it is not all here."""
        # Looking at the line first spares the long way's heads a second parsing.
        if REQUEST_LINE.startswith(data[start : start + len(REQUEST_LINE)]):
            if end > 3:
                plain = self._heads.learn(data[start:end], self._gate)
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
        self.due_s += len(data) / self._limits.body_bytes_per_s
        rest = data[self._missing :]
        self._pieces.append(data[: self._missing])
        self._missing -= len(data)
        if self._missing > 0:
            return
        pieces, self._pieces, self._plain = self._pieces, [], None
        try:
            self._access.expect_still(plain.caller)
        except NotAllowed as error:
            self._give_room_back()
            self._deny(error)
            if rest:
                self._cut(rest)
            return
        if plain.length > IN_LOOP_BYTES_MAX:
            self._owed.append(None)
            self.due_s = inf
            self._hold(rest)
            now_ms = self._clock()
            done = partial(self._decoded, plain.caller)
            self._decoders.submit(pieces, plain.form, now_ms, self._oldest_ms(now_ms), done)
            return
        self._take(b"".join(pieces), plain)
        if rest:
            self._cut(rest)

    def _decoded(self, caller: Caller, result: Batch | BadMessage | Refused) -> None:
        """The large body is decoded, or refused; nothing came after it."""
        self._give_room_back()
        self._owed.pop()
        if isinstance(result, Batch):
            caller.count_messages(result.messages, len(result.rejected))
            self._accept(result, caller.who)
        else:
            caller.count_messages(0, 1)
            self._deny(result)

    def _take(self, body: bytes, plain: Plain) -> None:
        """One whole request."""
        caller = plain.caller
        try:
            if caller.messages.left < 1:  # looked at here, as a call would be another for every message
                caller.check_messages()
            now_ms = self._clock()
            batch = decode(body, plain.form, now_ms, self._oldest_ms(now_ms))
        except TooMany as error:
            self._deny(error)
        except BadMessage as error:
            caller.count_messages(0, 1)
            self._deny(self._ingest.refusal() or error)
        else:
            caller.count_messages(batch.messages, len(batch.rejected))
            self._accept(batch, caller.who)

    def _accept(self, batch: Batch, who: str | None) -> None:
        """Answer a request that was understood, once its readings are on disk."""
        try:
            if batch.readings:
                self._ingest.put(batch.readings, self._stored, who)
                self._owed.append(batch)
                self.due_s = inf
                return
            self._ingest.check()
        except Refused as error:
            self._deny(error)
        else:
            self._in_turn(self._hall.answered(batch, self._metrics))

    def _deny(self, error: HeatfleetError) -> None:
        self._in_turn(self._hall.refused(error, self._metrics))

    def _in_turn(self, answer: bytes) -> None:
        """Write an answer that does not wait for the disk, when all that are owed are written."""
        if self._owed:
            self._owed.append(answer)
        else:
            self._write(answer)
            self._rest()

    def _stored(self, error: Refused | None) -> None:
        """The oldest request that waits for the disk is on it, or was refused by it."""
        batch = self._owed.popleft()
        # A request that was refused waits behind one that is stored, never before it.
        assert isinstance(batch, Batch)  # noqa: S101
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
        if self._leaving and not self._owed and not self._held:
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

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a large body that was all here is decoded and stored all the same."""
        if self._plain is not None and self._room_taken:
            self._give_room_back()
        super().connection_lost(exc)

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
