"""The ledgers there are, and orders to write into them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from heatfleet.domain.access import Actor
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.storage.base import Ledger

# The table of backends: a name, and how to give one an address in a fresh folder.
LEDGERS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/heatfleet.db",
}

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
TTL_MS = 300_000
DAY_MS = 86_400_000
BY = Actor("4fGh71Qa", "192.0.2.7")

_numbers = count()


def order(device_id: str = "d1", at_ms: int = NOW_MS, *, product_id: str | None = "p", switch: bool = True) -> Command:
    """An order with an id of its own, given at a time."""
    return Command(f"c{next(_numbers)}", device_id, product_id, switch, at_ms, at_ms + TTL_MS)


def publish(ledger: Ledger, command: Command, at_ms: int | None = None) -> CommandRecord:
    """Accept an order and settle it as published."""
    ledger.accept(command, by=BY)
    return ledger.settle(command.command_id, "published", command.issued_at_ms if at_ms is None else at_ms)


def devices(*device_ids: str) -> Audience:
    """Those who listen for these devices."""
    return Audience(frozenset(device_ids))
