"""A disk that fails at the n-th write or sync: nothing is answered for then, nothing is lost, and all goes on after."""

import asyncio
import errno
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from heatfleet.domain.messages import POWER, Reading
from heatfleet.errors import HeatfleetError, StorageFull, StoreUnavailable
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics
from heatfleet.storage import open_store
from heatfleet.storage.base import Store
from heatfleet.storage.sqlite import journal
from tests.failing_disk import FailingDisk, failing_syncs, failing_writes
from tests.figures import Figure
from tests.kept import damage_in, kept_readings
from tests.oracle import HOLD_MS, defined, told

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
LATER_MS = START_MS + 30 * 24 * 3_600_000


@pytest.fixture(autouse=True)
def _in_short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files and their logs are small, so that all that happens to them happens often; nobody reads what is logged."""

    def in_short(connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(20)

    monkeypatch.setattr(journal, "FILE_BYTES_MAX", 1_000)
    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, in_short])
    with capture_logs():
        yield


@dataclass
class Trial:
    """One store, on a disk that fails again and again."""

    disk: FailingDisk
    path: Path
    error: int
    once: bool
    requests: int
    sent: list[Reading] = field(default_factory=list)
    failures: list[HeatfleetError] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The store's address."""
        return f"sqlite:///{self.path}"

    @contextmanager
    def failing(self, number: int) -> Iterator[None]:
        """The disk fails at the n-th call within; what that raises must be said in our own words."""
        self.disk.fail_at(number, self.error, once=self.once)
        try:
            yield
        except StoreUnavailable as error:
            self.failures.append(error)
        finally:
            self.disk.mend()

    def fail_at(self, number: int) -> None:
        """Let each step of the life of a server and a rollup fail at its n-th call, and expect it to go on after."""
        with self.failing(number):
            open_store(self.url, hold_ms=HOLD_MS).close()
        with closing(open_store(self.url, hold_ms=HOLD_MS)) as server:
            asyncio.run(self._append(server, number))
            now_ms = START_MS + len(self.sent) * 60_000
            with closing(open_store(self.url, hold_ms=HOLD_MS, writable=False)) as rollup:
                with self.failing(number):
                    rollup.rollup(now_ms)
                rollup.rollup(now_ms)

    async def _append(self, server: Store, number: int) -> None:
        """Requests one after the other; those refused are sent again once the disk works, and then are taken."""
        ingest = Ingest(server, readings_max=1000, clock=lambda: LATER_MS, metrics=Metrics())
        refused = []
        self.disk.fail_at(number, self.error, once=self.once)
        for _ in range(self.requests):
            place = len(self.sent)
            request = [Reading(f"d{n % 5}", "p", POWER, START_MS + n * 60_000, n % 9.0) for n in (place, place + 1)]
            self.sent += request
            try:
                await ingest.write(request)
            except StoreUnavailable as error:
                self.failures.append(error)
                refused.append(request)
        self.disk.mend()
        for request in refused:
            await ingest.write(request)
        await ingest.close()

    def examine(self) -> None:
        """All that was sent is there, once, and every figure counts just that."""
        with closing(open_store(self.url, hold_ms=HOLD_MS)) as store:
            store.rollup(LATER_MS)
            assert set(self.sent) == kept_readings(self.path)
            assert defined(self.sent, LATER_MS) == told(store.figures())
        assert [] == damage_in(self.path)


FAILURES = {
    "writes fail with EIO once": (failing_writes, errno.EIO, True),
    "writes fail with EIO from then on": (failing_writes, errno.EIO, False),
    "writes fail with ENOSPC once": (failing_writes, errno.ENOSPC, True),
    "writes fail with ENOSPC from then on": (failing_writes, errno.ENOSPC, False),
    "syncs fail with EIO once": (failing_syncs, errno.EIO, True),
    "syncs fail with EIO from then on": (failing_syncs, errno.EIO, False),
}

IN_CI = {
    "writes fail with EIO once": range(1, 61),
    "writes fail with ENOSPC from then on": range(1, 61, 3),
    "syncs fail with EIO once": range(1, 21),
    "syncs fail with EIO from then on": range(1, 21),
}


def fail_everywhere(name: str, path: Path, numbers: range, requests: int, figure: Figure) -> None:
    disks, error, once = FAILURES[name]
    with disks() as disk:
        trial = Trial(disk, path, error, once, requests)
        for number in numbers:
            trial.fail_at(number)
        trial.examine()
    assert all(str(path.parent) in str(failure) for failure in trial.failures)
    assert len(trial.failures) > 10
    is_full = [isinstance(failure, StorageFull) for failure in trial.failures]
    assert any(is_full) == (error == errno.ENOSPC)
    figure("D5", f"{name}: at the n-th, for each n up to", numbers[-1])
    figure("D5", f"{name}: times that something was refused", len(trial.failures))


@pytest.mark.parametrize(("name", "numbers"), IN_CI.items())
def test_a_disk_that_fails_at_any_write_or_sync_loses_nothing(
    name: str, numbers: range, tmp_path: Path, figure: Figure
) -> None:
    """Opening, committing, rolling up: refused in our own words, and repeated with success once the disk works."""
    fail_everywhere(name, tmp_path / "heatfleet.db", numbers, 8, figure)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FAILURES)
def test_a_disk_that_fails_at_any_of_many_calls_loses_nothing(name: str, tmp_path: Path, figure: Figure) -> None:
    """The same up to the 200th call, of longer lives."""
    fail_everywhere(name, tmp_path / "heatfleet.db", range(1, 201), 40, figure)
