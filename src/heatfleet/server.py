"""``heatfleet serve``: the HTTP server in this process, the rollup in one beside it."""

import asyncio
import gc
import os
import shlex
import signal
import socket
import sys
import threading
from contextlib import closing, nullcontext
from types import FrameType

import structlog
import uvicorn

from heatfleet.api.app import create_app
from heatfleet.api.door import Door, Hall, Limits, allow_many_files, connections_max
from heatfleet.config import Settings, is_loopback, where_from
from heatfleet.errors import SetupError
from heatfleet.logs import configure_logging
from heatfleet.rollup import RollupProcess
from heatfleet.storage import open_key_ring
from heatfleet.wiring import Services, open_services

BACKLOG = 4096
KEEP_ALIVE_S = 60
GRACE_S = 5
"""How long requests under way may take to end once the server is told to stop."""
THREADS_S = 5.0
"""How long threads may still take once all else has ended."""
LEAVE_S = GRACE_S + 2
"""After this long it leaves whatever hangs: what was answered with 200 is on disk, nothing else was promised."""

log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """Uvicorn with our ``Door`` at each connection.

    At the end uvicorn would wait for open event streams: here they are told to end before it waits.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self.server_state = self._hall = Hall(limits)
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the services, then the door."""
        if self.config.http is Door:
            self._watch = asyncio.create_task(self._hall.watch())
        await super().startup(sockets)
        if not self.should_exit:
            services: Services = self.lifespan.state["services"]
            services.access.changed.append(self._hall.heads.clear)
            self._hall.heads.clear()  # what was remembered before anybody would have told of a change

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let what runs come to its end, close the services."""
        last_resort = _leave_after(LEAVE_S)
        services: Services = self.lifespan.state["services"]
        services.closing.set()
        await super().shutdown(sockets)
        # Who has not read its answer by now: the loop could not be closed with connections that still write.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        if self._watch is not None:
            self._watch.cancel()
        last_resort.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave in order when told to stop, and at once when told again."""
        if self.should_exit:
            _leave_at_once(128 + sig, "told to stop twice")
        super().handle_exit(sig, frame)


def _leave_after(seconds: float) -> threading.Timer:
    """End the process after so long, unless it has ended by then or this is cancelled."""
    last_resort = threading.Timer(seconds, _leave_at_once, [1, "the store or the database of orders does not answer"])
    last_resort.daemon = True
    last_resort.start()
    return last_resort


def _leave_at_once(code: int, reason: str) -> None:
    """End the process, whatever hangs in it; the rollup process sees that we are gone, and ends too."""
    log.error("stopped without waiting for what is under way", reason=reason)
    os._exit(code)


def run(settings: Settings, *, limits: Limits | None = None, door: bool = True) -> None:
    """Serve until SIGINT or SIGTERM, then leave in order; ``SetupError`` when it cannot start.

    Tests give other ``limits``. Without the ``door`` the same answers come from uvicorn alone: slower, and without
    deadlines and limits.
    """
    _expect_keys(settings)
    configure_logging(settings)
    # Decoding a batch makes and drops tens of thousands of objects without a cycle; by default the collector looks
    # through them every 700, which costs a third of a batch.
    gc.set_threshold(100_000, 20, 100)
    allow_many_files()
    listening = _listen(settings.host, settings.port)
    if is_loopback(settings.host) and not is_loopback(listening.getsockname()[0]):
        listening.close()
        raise SetupError(f"HEATFLEET_HOST: {settings.host} leads to other addresses here; name an IP address")
    # Makes the files before two processes open them, and turns what does not fit into one clear line.
    asyncio.run(_try_to_open(settings))
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=Door if door else "httptools",
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    # Uvicorn raises the signal again after it has left in order; by default SIGTERM would then kill us
    # before the rollup process is told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with RollupProcess(settings) if settings.rollup_every_s else nullcontext():
            log.info("listening", url=_url(*listening.getsockname()[:2]))
            Server(config, limits or Limits(connections=connections_max())).run([listening])
    except KeyboardInterrupt:
        pass  # told to stop, and stopped
    except SystemExit:
        if app.not_opened is not None:
            raise app.not_opened from None
        raise
    finally:
        log.info("stopped")
        _leave_after(THREADS_S)  # a thread that reads for a report would be waited for, and the disk may hold it


def _expect_keys(settings: Settings) -> None:
    """Raise ``SetupError`` if everybody needs a key, and there is none."""
    alone = is_loopback(settings.host)
    if (alone and settings.keys == "auto") or _any_key(settings.ledger):
        return
    given = {origin.name: origin.value for origin in where_from(settings) if origin.source == "option"}
    same = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in given.items())
    store = f" --store {shlex.quote(settings.store)}" if "store" in given else ""
    why = "HEATFLEET_KEYS is required" if alone else f"{settings.host} can be reached by other machines"
    raise SetupError(
        f"{why}, and there are no API keys: make one, then start again:\n"
        f"  heatfleet keys create --name first --scope admin{store}\n"
        f"  heatfleet serve{same}"
    )


def _any_key(ledger: str) -> bool:
    try:
        with closing(open_key_ring(ledger, writable=False)) as ring:
            return bool(ring.keys())
    except SetupError:
        return False  # no such file yet, or one that does not fit: opening it for good says what is wrong


async def _try_to_open(settings: Settings) -> None:
    async with open_services(settings):
        pass


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise SetupError(
            f"HEATFLEET_HOST, HEATFLEET_PORT: cannot listen on {host}, port {port}: {reason}; "
            "stop what uses it, or set another"
        ) from error
