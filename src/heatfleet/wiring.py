"""The one place that knows every part: opens them in order, closes them in reverse."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from heatfleet.access import Access
from heatfleet.commands import CommandDesk
from heatfleet.config import Settings, is_loopback
from heatfleet.ingest import Ingest
from heatfleet.messaging import open_bus, open_push_tokens
from heatfleet.messaging.base import Bus, PushTokens
from heatfleet.metrics import Metrics
from heatfleet.storage import open_key_ring, open_ledger, open_store
from heatfleet.storage.base import Ages, Ledger, Store

log = structlog.get_logger(__name__)


def now_ms() -> int:
    """The time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Services:
    """What a running server consists of. ``closing`` is set when it begins to stop: end open streams then."""

    settings: Settings
    store: Store
    ledger: Ledger
    bus: Bus
    ingest: Ingest
    commands: CommandDesk
    access: Access
    clock: Callable[[], int]
    metrics: Metrics
    closing: asyncio.Event
    push_tokens: PushTokens | None


@asynccontextmanager
async def open_services(settings: Settings, *, clock: Callable[[], int] = now_ms) -> AsyncIterator[Services]:
    """All parts, open, for as long as the block lasts; ``SetupError`` when a setting or file does not fit."""
    metrics = Metrics()
    closing = asyncio.Event()
    async with AsyncExitStack() as opened:
        store = open_store(
            settings.store,
            hold_ms=settings.max_hold_s * 1000,
            ages=Ages(settings.retention_days, settings.archive_after_days),
        )
        opened.callback(store.close)
        metrics.readings_set_aside.set_function(lambda: store.set_aside)
        ledger = open_ledger(settings.ledger)
        opened.callback(ledger.close)
        ring = open_key_ring(settings.ledger)
        opened.callback(ring.close)
        access = await opened.enter_async_context(
            Access(
                ring,
                may_be_open=is_loopback(settings.host) and settings.keys == "auto",
                messages_per_s=settings.key_messages_per_s,
                commands_per_min=settings.key_commands_per_min,
                clock=clock,
            )
        )
        push_tokens = open_push_tokens(audience=settings.push_audience, account=settings.push_account)
        bus = open_bus(settings.bus, clock=clock)
        opened.push_async_callback(bus.close)
        looking = asyncio.create_task(_look_at(bus))
        opened.callback(looking.cancel)
        ingest = Ingest(store, readings_max=settings.queue_readings_max, clock=clock, metrics=metrics)
        opened.push_async_callback(ingest.close)
        commands = await opened.enter_async_context(
            CommandDesk(
                ledger=ledger,
                bus=bus,
                store=store,
                ttl_s=settings.command_ttl_s,
                timeout_s=settings.bus_timeout_s,
                clock=clock,
                metrics=metrics,
            )
        )
        opened.callback(closing.set)
        yield Services(settings, store, ledger, bus, ingest, commands, access, clock, metrics, closing, push_tokens)


async def _look_at(bus: Bus) -> None:
    """Say what would keep orders from the devices; the server starts all the same, as it may be over soon."""
    if trouble := await bus.check():
        log.warning("orders would not reach the devices", reason=trouble)
