"""The whole API in one place: what is opened, what each request passes, and every route."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypedDict

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from heatfleet import __version__
from heatfleet.api import audit, devices, handlers, health, message, openapi, pages, push, report, send
from heatfleet.api.decoders import Decoders
from heatfleet.api.gate import Gate, GatedRoute
from heatfleet.api.turns import Turns
from heatfleet.api.watch import SmallBodies, Watch
from heatfleet.config import Settings
from heatfleet.errors import HeatfleetError
from heatfleet.wiring import Services, now_ms, open_services

DESCRIPTION = """\
Readings of electric heaters in, orders to them out, true energy by the hour.

Refusals are problem documents (RFC 9457); `/problems` explains each. A 503 means: nothing was stored or sent, send the
same again after `Retry-After` seconds.
"""


ROUTERS = (
    push.router,
    report.router,
    send.router,
    devices.router,
    audit.router,
    health.metrics_router,
    health.router,
    pages.router,
)


class State(TypedDict):
    """What every request finds in ``request.state``."""

    services: Services
    decoders: Decoders
    gate: Gate
    turns: Turns


class App(FastAPI):
    """The framework's app with ``POST /message`` in front of it, and in its documentation."""

    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self.not_opened: HeatfleetError | None = None
        """Why the services could not be opened, for who runs this app: a server only tells that it was so."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[State]:
            async with AsyncExitStack() as opened:
                try:
                    services = await opened.enter_async_context(open_services(settings, clock=clock))
                except HeatfleetError as error:
                    self.not_opened = error
                    raise
                decoders = Decoders(settings.bodies_mib_max * 1024 * 1024)
                opened.push_async_callback(decoders.close)
                hosts = frozenset(filter(None, settings.allowed_hosts.lower().split(",")))
                yield State(
                    services=services,
                    decoders=decoders,
                    gate=Gate(services.access, host=settings.host, allowed_hosts=hosts),
                    turns=Turns(services.ingest, report_s=settings.report_timeout_s, closing=services.closing),
                )

        super().__init__(
            title="Heatfleet",
            version=__version__,
            description=DESCRIPTION,
            lifespan=lifespan,
            middleware=[Middleware(Watch), Middleware(SmallBodies)],
            openapi_url=None,  # api/pages.py serves it, as a route that is counted like any other
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self._message = Watch(message.PostMessage(), route=message.PATH)
        handlers.add_handlers(self)
        for router in ROUTERS:
            self.include_router(router)
        ungated = [route for router in ROUTERS for route in router.routes if not isinstance(route, GatedRoute)]
        if ungated:
            raise TypeError(f"these routes do not say for whom they are: {ungated}; see opens_to in api/gate.py")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: the busy path at once, all others by the routes above."""
        if scope["type"] == "http" and scope["path"] == message.PATH:
            await self._message(scope, receive, send)
        elif scope["type"] == "lifespan":
            await super().__call__(scope, receive, partial(self._send_state, send))
        else:
            await super().__call__(scope, receive, send)

    async def _send_state(self, send: Send, message: Message) -> None:
        if self.not_opened is not None:
            message = {"type": message["type"]}  # without a traceback, as nothing is wrong with the program
        await send(message)

    def openapi(self) -> dict[str, Any]:
        """The API's document, OpenAPI 3.1."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi())
        return self.openapi_schema


def create_app(settings: Settings, *, clock: Callable[[], int] = now_ms) -> App:
    """The API as an ASGI app; it opens its services when its lifespan starts. ``clock`` gives the time in ms."""
    return App(settings, clock)
