"""At every route that is not for everybody: who calls, for which host, and whether a page of another site sent it."""

import re
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive, Send
from starlette.types import Scope as Request

from heatfleet.access import Access, Caller
from heatfleet.api.problems import slug_of
from heatfleet.domain.access import Scope
from heatfleet.errors import HeatfleetError, NotAllowed
from heatfleet.messaging.base import PushTokens
from heatfleet.wiring import Services

_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_SENT_ON = re.compile(
    r"forwarded|x[-_]forwarded.*|x-real-ip|via|cdn-loop|(true-|x-)?client-ip|x-original-.*|x-envoy-.*|x-arr-.*|"
    r"(cf|fly|tailscale|fastly)-.*"
).fullmatch
"""What a proxy adds: then a caller who seems to be on this machine may be anywhere."""

NEEDS = "x-needs"
REFUSALS = ("needs-key", "bad-key", "missing-scope", "bound-key", "cross-site", "foreign-host", "over-limit")
"""The problems that the gate, and limits and bounds of keys, may answer with."""


class Gate:
    """Lets requests in.

    A server without keys has nothing but where a request comes from, and a browser on its machine runs the pages of
    strangers: so it serves requests to names of its own only (a stranger's name may lead here too: DNS rebinding), none
    that a page of another site sent, and none that came through a proxy. With keys none of that matters, as no browser
    adds them by itself; then ``allowed_hosts`` is held to if there are any.
    """

    def __init__(self, access: Access, *, host: str, allowed_hosts: frozenset[str]) -> None:
        self.access = access
        self._named = bool(allowed_hosts)
        self._hosts = frozenset((*_OWN_NAMES, host.lower())) | allowed_hosts

    def knows(self, headers: Headers, scope: Scope) -> Caller | None:
        """Who calls, if there is nothing to object to; nothing is counted."""
        if self._objection(headers) is not None:
            return None
        caller = self.access.knows(headers.get("authorization"))
        return caller if caller is not None and caller.key.may(scope) else None

    def admit(self, headers: Headers, address: str) -> Caller:
        """Who calls, whatever for; raises ``NotAllowed``, and ``TooMany`` for one who tries wrong keys."""
        if objection := self._objection(headers):
            raise objection
        return self.access.admit(headers.get("authorization"), address)

    async def admit_push(self, headers: Headers, address: str, tokens: PushTokens | None) -> None:
        """Return if Pub/Sub calls, or anybody whom a server without keys lets in; raises what ``admit`` raises.

        API keys open nothing here: Pub/Sub has none to show.
        """
        is_open = tokens is None and self.access.is_open
        if objection := self._objection(headers, is_open=is_open):
            raise objection
        if is_open:
            return
        if tokens is None:
            raise NotAllowed("push-off", "set HEATFLEET_PUSH_AUDIENCE and HEATFLEET_PUSH_ACCOUNT to take pushes")
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise NotAllowed("bad-token", "the subscription must push with a token: Authorization: Bearer eyJ...")
        try:
            await tokens.judge(token.strip())
        except NotAllowed:
            self.access.count_wrong(address)
            raise

    def _objection(self, headers: Headers, *, is_open: bool | None = None) -> NotAllowed | None:
        is_open = self.access.is_open if is_open is None else is_open
        host = headers.get("host", "").lower()
        if (is_open or self._named) and "*" not in self._hosts and _name_of(host) not in self._hosts:
            return NotAllowed("foreign-host", "Host names another server; HEATFLEET_ALLOWED_HOSTS adds names")
        if len(headers.getlist("authorization")) > 1:
            return NotAllowed("bad-key", "the header Authorization may be given once only")
        if not is_open:
            return None
        if any(map(_SENT_ON, headers.keys())):
            return NotAllowed("needs-key", "this came through a proxy: make keys with `heatfleet keys create`")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if site in ("cross-site", "same-site") or (
            origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}")
        ):
            return NotAllowed("cross-site", "a page of another site has sent this; that needs a key")
        return None


def _name_of(host: str) -> str:
    """The host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class GatedRoute(APIRoute):
    """A route that says for whom it is. ``needs`` is the scope, ``None`` for everybody; made by ``opens_to``."""

    needs: Scope | None

    async def handle(self, scope: Request, receive: Receive, send: Send) -> None:
        """Serve a request, once it is known whose it is: before anything of its body is read."""
        if self.needs is not None:
            gate: Gate = scope["state"]["gate"]
            client = scope["client"]
            headers, address = Headers(scope=scope), client[0] if client else ""
            caller = scope["state"]["caller"] = gate.admit(headers, address)
            try:
                caller.expect(self.needs)
            except NotAllowed as error:
                if scope["method"] == "POST":
                    # It was about to order something. What, is not looked at.
                    services: Services = scope["state"]["services"]
                    services.commands.note_refused("", "", by=caller.actor(address), slug=error.kind)
                raise
        await super().handle(scope, receive, send)


class PushRoute(GatedRoute):
    """A route that Pub/Sub calls; it shows a token, which is judged before anything of the body is read."""

    needs = None

    async def handle(self, scope: Request, receive: Receive, send: Send) -> None:
        """Serve a request, if Pub/Sub calls."""
        gate: Gate = scope["state"]["gate"]
        services: Services = scope["state"]["services"]
        address = scope["client"][0] if scope["client"] else ""
        try:
            await gate.admit_push(Headers(scope=scope), address, services.push_tokens)
        except HeatfleetError as error:
            services.metrics.rejected.labels(slug_of(error)).inc()
            raise
        await super().handle(scope, receive, send)


def opens_to(needed: Scope | None) -> type[GatedRoute]:
    """The class of routes that need this scope, for ``APIRouter(route_class=...)``; ``None``: all may come."""

    class Route(GatedRoute):
        needs = needed

        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            # The documentation is made from the routes: api/openapi.py reads it there.
            options["openapi_extra"] = {**(options.get("openapi_extra") or {}), NEEDS: needed}
            super().__init__(path, endpoint, **options)

    return Route
