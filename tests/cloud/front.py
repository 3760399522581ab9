"""What Google has and the local BigQuery has not: rights. A way to it on which they are asked for."""

import json
import re
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

_ABOUT_TABLE = re.compile(r"/tables/(\w+):testIamPermissions")
_NOT_HANDED_ON = {"connection", "content-length", "transfer-encoding", "date", "server"}


class Front:
    """Listens on ``address`` and hands on everything else.

    ``denied`` are permissions that nobody has, on one table (``"arrival bigquery.tables.get"``) or on all. ``errors``
    are answers by a part of the request line: the message that Google would send, with its status.
    """

    def __init__(self, rest: str) -> None:
        self.denied: set[str] = set()
        self.errors: dict[str, tuple[int, str]] = {}
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, answer = front.answer(f"{self.command} {self.path}", body, dict(self.headers), rest)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = take  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, line: str, body: bytes, headers: dict[str, str], rest: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        kind = {"Content-Type": "application/json"}
        for part, (status, message) in self.errors.items():
            if part in line:
                error = {"code": status, "message": message, "errors": [{"message": message, "reason": "accessDenied"}]}
                return status, kind, json.dumps({"error": error}).encode()
        if asked := _ABOUT_TABLE.search(line):
            permissions = json.loads(body)["permissions"]
            granted = [one for one in permissions if not {one, f"{asked[1]} {one}"} & self.denied]
            return 200, kind, json.dumps({"permissions": granted} if granted else {}).encode()
        method, _, path = line.partition(" ")
        server = HTTPConnection(rest)
        try:
            passed = {name: value for name, value in headers.items() if name.lower() not in _NOT_HANDED_ON}
            server.request(method, path, body or None, passed)
            response = server.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _NOT_HANDED_ON}
            return response.status, kept, response.read()
        finally:
            server.close()
