"""Around every route: count the answers, turn defects into problems, keep bodies small."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatfleet.api.envelope import PUSH_BYTES_MAX
from heatfleet.api.problems import answer_defect
from heatfleet.wiring import Services

UNKNOWN_ROUTE = "unknown"
"""Stands for every path that is no route: a metric must not grow with what callers make up."""
SMALL_BODY_BYTES_MAX = 64 * 1024
LARGER_BYTES_MAX = {"/send": 256 * 1024, "/pubsub/push": PUSH_BYTES_MAX}
"""What other paths take."""


class Watch:
    """Counts each answer by route and status; an exception nobody planned for becomes a 500, logged once."""

    def __init__(self, app: ASGIApp, route: str | None = None) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except ClientDisconnect:
            pass  # nobody is left to answer, and nothing is wrong
        except Exception as error:
            if status:
                # Half an answer is out. Breaking off tells the caller so; the server logs what it is given.
                raise
            await answer_defect(error)(scope, receive, send_noted)
        finally:
            if status:
                services: Services = scope["state"]["services"]
                route = self._route or getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
                services.metrics.http_answers.labels(route, str(status)).inc()


class SmallBodies:
    """Refuses bodies above 64 KiB, or what a path may have, with 413, as soon as a route reads them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = int(Headers(scope=scope).get("content-length", 0))
        size_max = LARGER_BYTES_MAX.get(scope["path"], SMALL_BODY_BYTES_MAX)
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            if announced > size_max:
                raise _too_large()
            event = await receive()
            received += len(event.get("body", b""))
            if received > size_max:
                raise _too_large()
            return event

        await self._app(scope, receive_bounded, send)


def _too_large() -> HTTPException:
    return HTTPException(413)
