"""``heatfleet demo``: a server and a simulated fleet that posts to it, to look at and to play with."""

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from heatfleet.cli.simulate import stop_on_signals
from heatfleet.cli.terminal import narrate
from heatfleet.errors import HeatfleetError, Refused, SetupError

if TYPE_CHECKING:
    from heatfleet.client import Client
    from heatfleet.config import Settings
    from heatfleet.simulator import SimulationOptions

SEED = 1
_QUICK = {"rollup_every_s": 5.0, "log_level": "warning"}
_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 20.0
_DAY_MS = 86_400_000
_STEP_MS = 10_000


def demo(
    *,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="How many heaters.")] = 500,
    days: Annotated[int, typer.Option(min=0, max=365, help="Days of history to begin with.")] = 3,
    port: Annotated[int | None, typer.Option(help="TCP port; HEATFLEET_PORT otherwise.")] = None,
    store: Annotated[str | None, typer.Option(help="URL of the store; HEATFLEET_STORE otherwise.")] = None,
) -> None:
    """Start a server and a simulated fleet, and run until Ctrl-C; `make run` does this.

    Examples:
    $ heatfleet demo
    $ heatfleet demo --devices 5000 --days 7 --port 9000

    A second run goes on with the same data. Figures follow every 5 s unless HEATFLEET_ROLLUP_EVERY_S is set.
    """
    from heatfleet.config import load_settings, where_from

    settings = load_settings(port=port, store=store)
    unset = {origin.name for origin in where_from(settings) if origin.source == "default"}
    settings = settings.model_copy(update={name: value for name, value in _QUICK.items() if name in unset})
    _check_alone(settings)
    _check_key(settings)
    start_ms = _history_start_ms(settings, time.time_ns() // 1_000_000, days)
    asyncio.run(_run(settings, devices, start_ms))


def _check_key(settings: "Settings") -> None:
    """Say at once that the fleet needs a key, where every message would be refused."""
    from heatfleet.storage import open_key_ring

    try:
        with closing(open_key_ring(settings.ledger, writable=False)) as ring:
            needs_key = bool(ring.keys())
    except SetupError:
        return  # there is no store yet
    if needs_key and not settings.api_key:
        raise SetupError(
            "this store has API keys: set HEATFLEET_API_KEY to one with the scopes ingest, command and report, "
            "or take another store: --store sqlite:///var/demo.db"
        )


async def _run(settings: "Settings", devices: int, start_ms: int) -> None:
    from heatfleet.cli.where import show_where_to_look
    from heatfleet.client import Client, authorization, server_url
    from heatfleet.simulator import SimulationOptions

    stop = stop_on_signals()
    url = server_url(settings.host, settings.port)
    async with _server(settings, stop) as server:
        with Client(url, api_key=settings.api_key, timeout_s=5) as client:
            if await _answers(client, stop):
                show_where_to_look(url, seed=SEED)
                options = SimulationOptions(devices=devices, start_ms=start_ms, url=url, seed=SEED)
                await _live(options, client, server, stop, authorization(settings.api_key))
        if server.returncode is not None:
            raise HeatfleetError(f"the server ended by itself, with exit code {server.returncode}; see above")
    narrate(f"stopped; the data stays in {settings.store}, and the next run goes on with it")


@asynccontextmanager
async def _server(settings: "Settings", stop: asyncio.Event) -> AsyncIterator[Process]:
    """A server in a process of its own, ended with the block; should it end by itself, ``stop`` is set."""
    from heatfleet.config import environment

    # In a process group of its own, so that Ctrl-C reaches us alone: the fleet shall stop before its server.
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "heatfleet", "serve", env=environment(settings), process_group=0
    )

    async def watch() -> None:
        await server.wait()
        stop.set()

    watcher = asyncio.create_task(watch())
    try:
        yield server
    finally:
        if server.returncode is None:
            server.terminate()
        try:
            await asyncio.wait_for(watcher, _STOP_WITHIN_S)
        except TimeoutError:
            server.kill()
            await server.wait()
        with suppress(ProcessLookupError):  # nobody is left of its group, unless it was killed beside its rollup
            os.killpg(server.pid, signal.SIGTERM)


async def _answers(client: "Client", stop: asyncio.Event) -> bool:
    """Wait until the server is ready; false when everything was stopped before that."""
    give_up_s = time.monotonic() + _START_WITHIN_S
    while not stop.is_set():
        try:
            await asyncio.to_thread(client.ready)
        except Refused:
            if time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(0.1)
        else:
            return True
    return False


async def _live(
    options: "SimulationOptions", client: "Client", server: Process, stop: asyncio.Event, headers: dict[str, str]
) -> None:
    from heatfleet.cli.progress import ProgressView
    from heatfleet.simulator import SimulatorError, run

    today = _Today(client)
    watcher = asyncio.create_task(today.watch())
    try:
        with ProgressView(options.start_ms, aside=lambda: today.words) as view:
            await run(options, on_progress=view, stop=stop, headers=headers)
    except SimulatorError:
        if server.returncode is None:  # without a server the fleet could not but fail
            raise
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


class _Today:
    """What the fleet has used today, as the report has it, in words that are renewed now and then."""

    def __init__(self, client: "Client") -> None:
        self.words = ""
        self._client = client

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(5)
            yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
            try:
                days = await asyncio.to_thread(self._client.report, {"from": yesterday, "interval": "day"})
            except HeatfleetError:
                continue
            energy_wh = next(reversed(days.values()), None)
            self.words = "" if energy_wh is None else f"{energy_wh / 1000:,.1f} kWh today"


def _history_start_ms(settings: "Settings", now_ms: int, days: int) -> int:
    """Where to begin: some days ago, or where the fleet of an earlier run fell silent."""
    from heatfleet.rollup import rollup_once
    from heatfleet.simulator.wire import product_ids
    from heatfleet.storage import open_store
    from heatfleet.storage.base import DeviceFilter

    rollup_once(settings)
    fleet = DeviceFilter(product_id=product_ids(SEED)[0])
    with closing(open_store(settings.store, hold_ms=settings.max_hold_s * 1000, writable=False)) as store:
        page = store.devices(fleet, now_ms=now_ms)
    silent_since_ms = max((device.last_seen_ms + _STEP_MS for device in page.devices), default=0)
    if page.devices:
        narrate("this store has the fleet's history: it is kept as it is, whatever --days says, and goes on from there")
    return max(now_ms - days * _DAY_MS, min(silent_since_ms, now_ms))


def _check_alone(settings: "Settings") -> None:
    """Make the store if there is none; ``SetupError`` where another Heatfleet has it, or the port is taken."""
    from heatfleet.storage import open_store

    taken = _is_taken(settings)
    try:
        open_store(settings.store, hold_ms=settings.max_hold_s * 1000).close()
    except SetupError as error:
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        second = "--port 9000 --store sqlite:///var/second.db"
        raise SetupError(
            f"Heatfleet already runs here, with {settings.store}; stop it, or start another beside it: "
            f'make run ARGS="{second}", or heatfleet demo {second}'
        ) from None
    if taken:
        raise SetupError(
            f"port {settings.port} of {settings.host} is taken, perhaps by another Heatfleet; choose another: "
            'make run ARGS="--port 9000", or heatfleet demo --port 9000'
        )


def _is_taken(settings: "Settings") -> bool:
    """Whether somebody listens on the port; ``SetupError`` where nobody could."""
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return True
        where = f"port {settings.port} of {settings.host}"
        raise SetupError(f"{where} cannot be listened on: {error.strerror}; choose another --port") from None
    return False
