"""One connection to uvicorn, held to deadlines and limits: what every request passes, whoever answers it."""

import asyncio
from math import inf
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from heatfleet.api.door.hall import SWEEP_S, Hall
from heatfleet.api.door.heads import is_host
from heatfleet.api.report import PATH as REPORT_PATH
from heatfleet.wiring import Services


class _Unacceptable(Exception):
    """Raised within the parser's callbacks, to end the parsing; uvicorn then calls ``send_400_response``."""


class _Flow(FlowControl):
    """Does not read while bytes are held; uvicorn would, with each request of a pipeline that it begins to serve."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class Guard(HttpToolsProtocol):
    """Uvicorn's protocol, which by itself waits for ever, takes heads of any size, and answers two hosts like one.

    Where it refuses, it says why in a problem document, after the answers to all earlier requests, and closes.
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
        self._metrics = services.metrics
        self._hall = cast("Hall", server_state)
        self._limits = self._hall.limits
        self.due_s = inf
        """When the client must have sent more: ``inf`` while it waits for us."""
        self.read_due_s = inf
        """When the client must have read what fills the socket's buffer."""
        self._leaving = False  # the next answer that leaves nothing owed is the last
        self._over = False  # refused: whatever else arrives is thrown away
        self._held: bytes | None = None  # bytes to look at when what came before them is answered
        self._running: RequestResponseCycle | None = None  # what uvicorn answers now; ``cycle`` is what came last
        # Where uvicorn's parser stands: in a request, in its head.
        self._inside = self._in_head = False
        self._head_bytes = self._head_fields = self._hosts = self._body_bytes = 0
        self._unread_bytes = self._thrown_bytes = 0  # what the parser took without a word; what came too late
        self._reason = "malformed-request"
        self._last_words: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self.due_s = self._hall.now_s + self._limits.head_s
        if len(self.connections) > self._limits.connections:
            self._over = True
            transport.write(self._hall.last_words("overloaded", self._metrics))
            self._close()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, when it is its turn."""
        if self._over:
            self._thrown_bytes += len(data)
            if self._thrown_bytes > self._limits.body_bytes:  # who sends so much does not read our answer
                self.transport.abort()
        elif self._held is not None:
            self._held += data
        elif self.pipeline:
            self._hold(data)
        else:
            self._parse(data)

    # -- What uvicorn's parser reads -----------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        self._unread_bytes += len(data)
        super().data_received(data)
        # A field, trailer or chunk extension without end is told to nobody, and kept by the parser.
        if self._unread_bytes > self._limits.head_bytes and not self._over:
            self._refuse("head-too-large")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._inside = self._in_head = True
        self._head_bytes = self._head_fields = self._hosts = self._body_bytes = self._unread_bytes = 0
        self.due_s = self._hall.now_s + self._limits.head_s
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._grow_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; those after a chunked body count, and mean nothing."""
        self._head_fields += 1
        self._grow_head(len(name) + len(value) + 4)
        if self._in_head:
            if name.lower() == b"host":
                self._hosts += 1
                if self._hosts > 1 or not is_host(value):
                    self._stop("bad-host")
            elif name.lower() == b"transfer-encoding" and value.lower() != b"chunked":
                self._stop("malformed-request")  # the parser looks at the end of the last one alone
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete, and its route begins."""
        if not self._hosts and self.parser.get_http_version() != "1.0":
            self._stop("bad-host")
        self._unread_bytes = 0
        self.due_s = self._hall.now_s + self._limits.body_s
        super().on_headers_complete()
        self._in_head = False
        if self._leaving:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._unread_bytes = 0
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._stop("too-large")
        self.due_s += len(body) / self._limits.body_bytes_per_s
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._inside = False
        # A route may have answered without the body.
        self.due_s = self._hall.now_s + self._limits.idle_s if self.cycle.response_complete else inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Uvicorn has answered a request."""
        others_wait = bool(self.pipeline)
        super().on_response_complete()  # begins with the next of the pipeline
        self._unset_keepalive_if_required()  # the sweep does this
        if self.transport.is_closing():
            self._close()
        elif self._last_words is not None and not others_wait:
            self._say_last(self._last_words)
        elif self._held is not None:
            if not self.pipeline:
                self._release(self._held)
        elif not self._inside and not others_wait:
            self.due_s = self._hall.now_s + self._limits.idle_s
            if self.flow.write_paused:
                self.flow.pause_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """The parser drops what follows a wish to upgrade: so this request is the connection's last."""
        self.cycle.keep_alive = False

    def _grow_head(self, size: int) -> None:
        self._unread_bytes = 0
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes or self._head_fields > self._limits.head_fields:
            self._stop("head-too-large")

    def _stop(self, reason: str) -> None:
        self._reason = reason
        raise _Unacceptable

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words; ours say what to do
        """The parser has stopped: over the stream itself, or in one of the callbacks above."""
        self._refuse(self._reason)

    # -- Whose turn it is ----------------------------------------------------------------------------------------

    def _answering(self) -> bool:
        """Whether uvicorn is at work on an answer; more may wait in its pipeline."""
        return self._running is not None and not self._running.response_complete

    def _is_inside(self) -> bool:
        """Whether the client has begun a request and not ended it."""
        return self._inside

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._flow.held = True
        self._flow.pause_reading()

    def _release(self, data: bytes) -> None:
        self._held = None
        self._flow.held = False
        if not self._flow.write_paused:
            self._flow.resume_reading()
        if data:
            self.data_received(data)

    def pause_writing(self) -> None:
        """The client does not read: then neither do we."""
        super().pause_writing()
        self.read_due_s = self._hall.now_s + self._limits.write_s
        if not self._answering():
            self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self.read_due_s = inf
        if not self._answering():
            self.flow.resume_reading()

    # -- Ends ----------------------------------------------------------------------------------------------------

    def _refuse(self, reason: str) -> None:
        """Answer the request under way with a problem, once all earlier ones are answered, and close."""
        self._over = True
        words = self._hall.last_words(reason, self._metrics)
        earlier = self._answering()
        if self._inside and not self._in_head:
            # Its own route is at work, and this is its answer, unless it began one; or it waits for its turn.
            earlier = self.cycle is not self._running
            if earlier:
                self.pipeline.popleft()
            else:
                words = b"" if self.cycle.response_started else words
                self._leave_running()
        if earlier:
            self._last_words = words
            self.flow.pause_reading()
            self.due_s = inf
        else:
            self._say_last(words)

    def _say_last(self, words: bytes) -> None:
        """Write, and close when the client has read it: a close with bytes unread would take the words back."""
        if not self.transport.is_closing():
            self.transport.write(words)
            self.transport.write_eof()
            self.flow.resume_reading()
            self.due_s = self._hall.now_s + self._limits.linger_s

    def _leave_running(self) -> None:
        """Tell the route at work that nobody listens; what it writes to a closed connection would raise."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; uvicorn tells the request that came last, not always the one at work."""
        self._leave_running()
        super().connection_lost(exc)

    def _close(self) -> None:
        self.transport.close()
        self.due_s = self._hall.now_s + self._limits.write_s  # for a client that does not read the rest

    def expire(self) -> None:
        """A deadline has passed."""
        now_s = self._hall.now_s
        if self.read_due_s < now_s or self.transport.is_closing():
            self._leave_running()
            self.transport.abort()
        elif self._over:
            self._close()
        elif self.flow.read_paused:
            self.due_s = now_s + SWEEP_S  # it is us who do not read
        elif self._is_inside():
            self._refuse("too-slow")
        else:
            self._close()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more or is gone, which looks the same: it still gets answers, not streams and reports."""
        is_report = self._running is not None and self._running.scope["path"].startswith(REPORT_PATH)
        if is_report or not self._answering() or self.cycle.more_body or self.cycle.response_started:
            return None
        self.shutdown()
        return True

    def shutdown(self) -> None:
        """Close after what is owed; idle connections a moment later, for a request that is on its way."""
        self._leaving = True
        if self._answering():
            self.cycle.keep_alive = False
        if self.due_s < inf:
            self.due_s = min(self.due_s, self._hall.now_s + self._limits.leave_s)
