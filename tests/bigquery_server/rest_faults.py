"""A way to the REST API on which things go wrong: all is carried as it is, until a switch is set."""

import json
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.bigquery_server.faults import AnswerLost, HttpError, Reset, Silence, Slow, Switch

ABOUT_THE_CONNECTION = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


class Asked(NamedTuple):
    """A request that came by."""

    method: str
    path: str
    body: Any


class RestOnTheWay:
    """Carries REST requests to a server; they meet the faults of ``switch``, and are kept in ``asked``."""

    def __init__(self, upstream: str) -> None:
        self.switch = Switch()
        self.asked: list[Asked] = []
        self.upstream = upstream
        self.is_down = False
        way = self

        class Handler(_Handler):
            on_the_way = way

        self._handler = Handler
        self.port = 0
        self.up()

    def up(self) -> None:
        """Listen, on the same port as ever."""
        self.is_down = False
        self._server = _Server(("127.0.0.1", self.port), self._handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self.is_down = True
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        """End, and nobody waits any more."""
        self.switch.clear()
        self.down()


class _Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up: some tests are about that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    on_the_way: RestOnTheWay

    def carry(self) -> None:
        """Take a request, let it meet its fault, or its answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.on_the_way.asked.append(Asked(self.command, self.path, json.loads(body) if body else None))
        if self.on_the_way.is_down:
            return self.cut()
        switch = self.on_the_way.switch
        match switch.take(f"{self.command} {self.path} {body.decode()}"):
            case HttpError(status, reason):
                error = {"message": reason, "reason": reason, "domain": "global"}
                told = {"error": {"code": status, "message": reason, "errors": [error]}}
                return self.answer(status, {"Content-Type": "application/json"}, json.dumps(told).encode())
            case Reset():
                return self.cut()
            case AnswerLost():
                self.forward(body)
                return self.cut()
            case Silence():
                switch.wait(3600)
            case Slow(delay_s):
                switch.wait(delay_s)
        return self.answer(*self.forward(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = carry  # noqa: N815 - their names are the library's

    def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the server."""
        server = HTTPConnection(self.on_the_way.upstream)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ABOUT_THE_CONNECTION}
            server.request(self.command, self.path, body or None, headers)
            response = server.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            server.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Give the client this answer."""
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ABOUT_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """End the connection without a word."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""
