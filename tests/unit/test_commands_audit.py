"""What the desk has noted: who gave each order, and which orders were refused."""

import threading
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.commands import NOTES_MAX, NOTES_PER_MIN
from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.errors import KeyReused, StoreUnavailable
from heatfleet.storage import open_ledger
from heatfleet.storage.sqlite.ledger import SqliteLedger
from tests.unit.gated_desk import BY, NOW_MS, open_office


class StuckLedger(SqliteLedger):
    """A ledger whose disk, once ``free`` is cleared, stands still when something is noted, and may then fail."""

    def __init__(self, store_path: str) -> None:
        super().__init__(store_path)
        self.free = threading.Event()
        self.calls = 0
        self.fails = False

    def note(self, *entries: AuditEntry) -> None:
        """Note it, when the disk moves."""
        self.calls += 1
        assert self.free.wait(timeout=30)
        if self.fails:
            raise StoreUnavailable("the disk is full")
        super().note(*entries)


def trail(folder: Path) -> list[AuditEntry]:
    """All that is on disk."""
    with closing(open_ledger(f"sqlite:///{folder}/heatfleet.db", writable=False)) as ledger:
        return [entry for _, entry in ledger.audit(NOW_MS, limit=10_000)]


async def test_who_gave_an_order_is_noted(tmp_path: Path) -> None:
    """The line has the caller and address that the desk was told, and the order's own time and state."""
    async with open_office(tmp_path) as office:
        sent = await office.desk.send("d1", switch=False, by=BY)

    assert [AuditEntry(NOW_MS, BY, "order", "d1", "off", "published", sent.command.command_id)] == trail(tmp_path)


async def test_a_key_belongs_to_its_caller(tmp_path: Path) -> None:
    """Two callers with the same Idempotency-Key send two orders."""
    async with open_office(tmp_path) as office:
        first = await office.desk.send("d1", switch=True, by=BY, idempotency_key="k")
        second = await office.desk.send("d1", switch=True, by=Actor("another1", BY.address), idempotency_key="k")

        assert [first.command, second.command] == office.bus.carried


async def test_an_order_with_the_key_of_another_one_is_noted(tmp_path: Path) -> None:
    """Somebody has tried to give it, and it was refused."""
    async with open_office(tmp_path) as office:
        await office.desk.send("d1", switch=True, by=BY, idempotency_key="k")
        with pytest.raises(KeyReused):
            await office.desk.send("d2", switch=True, by=BY, idempotency_key="k")

    assert AuditEntry(NOW_MS, BY, "order", "d2", "on", "key-reused") == trail(tmp_path)[-1]


async def test_refused_orders_are_noted(tmp_path: Path) -> None:
    """They are on disk once the desk has closed, with what they were refused for, and counted."""
    async with open_office(tmp_path) as office:
        office.desk.note_refused("d1", "on", by=BY, slug="key-reused")
        office.desk.note_refused("d2", "off", by=BY, slug="not-found")

        assert 2.0 == office.counted("refused")
    assert [
        AuditEntry(NOW_MS, BY, "order", "d1", "on", "key-reused"),
        AuditEntry(NOW_MS, BY, "order", "d2", "off", "not-found"),
    ] == trail(tmp_path)


async def test_refused_orders_share_a_sync_and_a_bound(tmp_path: Path) -> None:
    """However many are refused while the disk stands still, they wait in bounded memory for one more write."""
    ledger = StuckLedger(f"{tmp_path}/heatfleet.db")
    async with open_office(tmp_path, ledger=ledger) as office:
        for number in range(3 * NOTES_MAX):
            office.desk.note_refused("d1", "on", by=Actor(f"key{number}", ""), slug="not-found")
        assert len(office.desk._refusals) <= NOTES_MAX
        ledger.free.set()

    assert ledger.calls <= 2
    assert NOTES_MAX <= len(trail(tmp_path)) <= 2 * NOTES_MAX
    assert 3.0 * NOTES_MAX == office.counted("refused")


async def test_one_who_is_refused_over_and_over_does_not_fill_the_disk(tmp_path: Path) -> None:
    """Of one actor a few lines a minute are noted; those of others are, too."""
    async with open_office(tmp_path) as office:
        for _ in range(10 * NOTES_PER_MIN):
            office.desk.note_refused("d1", "on", by=BY, slug="not-found")
        office.desk.note_refused("d2", "on", by=Actor("other", ""), slug="not-found")

    assert ["d1"] * NOTES_PER_MIN + ["d2"] == [entry.subject for entry in trail(tmp_path)]


async def test_a_disk_that_fails_costs_the_note_and_nothing_else(tmp_path: Path) -> None:
    """Noting a refusal never raises, neither on a full disk nor once the desk is closed, and orders go on."""
    ledger = StuckLedger(f"{tmp_path}/heatfleet.db")
    ledger.free.set()
    async with open_office(tmp_path, ledger=ledger) as office:
        ledger.fails = True
        office.desk.note_refused("d1", "on", by=BY, slug="not-found")
        sent = await office.desk.send("d2", switch=True, by=BY)
        ledger.fails = False
        office.desk.note_refused("d3", "on", by=BY, slug="not-found")
    office.desk.note_refused("d4", "on", by=BY, slug="not-found")

    assert "published" == sent.state
    assert ["d2", "d3"] == [entry.subject for entry in trail(tmp_path)]
