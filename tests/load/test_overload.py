"""More than can be stored: what is accepted is stored in time, the rest is refused aloud, and then all is as before."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from benchmarks.wrk import Way, post
from tests.figures import Figure
from tests.load.open_loop import Outcome, offer
from tests.load.slow_disk import CAPACITY, QUEUE, SlowDisk
from tests.serving import RunningServer, message

MIB = 1024 * 1024
GROWTH_BYTES_MAX = 64 * MIB


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowDisk]:
    """A server with a slow disk."""
    server = SlowDisk(tmp_path)
    yield server
    server.close()


def resident_bytes(server: RunningServer) -> int:
    """The memory that the server's process has now."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def stored_devices(server: RunningServer) -> set[int]:
    """The numbers of the devices that have spoken, as a rollup finds them."""
    server.rollup()
    connection = apsw.Connection(str(server.store_path), flags=apsw.SQLITE_OPEN_READONLY)
    names = {name for (name,) in connection.execute("SELECT name FROM device WHERE name LIKE 'd________'")}
    connection.close()
    return {int(name[1:]) for name in names}


def expect_order(outcome: Outcome) -> None:
    """Everybody was answered, with 200 or with a time to come back after, and no connection was broken."""
    assert {"200", "503"} >= outcome.statuses.keys()
    assert 0 == outcome.bare
    assert 0 == outcome.broken
    assert 0 == outcome.unanswered


@pytest.mark.parametrize("times", [2, 10])
def test_overload_is_refused_aloud(slow: SlowDisk, times: int) -> None:
    """At twice and ten times what the disk takes, all are answered, and what was acknowledged is stored."""
    before_bytes = resident_bytes(slow)
    outcome = offer(slow.port, times * CAPACITY, 2, 400)
    growth_bytes = resident_bytes(slow) - before_bytes

    expect_order(outcome)
    assert outcome.statuses["200"] > 0
    assert outcome.statuses["503"] > 0
    assert growth_bytes < GROWTH_BYTES_MAX
    assert [200] * 10 == [slow.post(message(f"after-{number}")).status_code for number in range(10)]
    assert set(outcome.stored) == stored_devices(slow)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("times", "seconds"), [(2, 300), (10, 30)])
def test_overload_for_long(slow: SlowDisk, figure: Figure, times: int, seconds: float) -> None:
    """What is accepted at two and ten times the capacity is answered as quickly as ever, and no less of it."""
    unloaded = offer(slow.port, CAPACITY / 10, 10, 400)
    best = offer(slow.port, 2 * CAPACITY, 10, QUEUE)  # nobody is refused, and the next is always there
    before_bytes = resident_bytes(slow)
    outcome = offer(slow.port, times * best.stored_per_s, seconds, 400)
    after_s = time.monotonic()
    growth_bytes = resident_bytes(slow) - before_bytes
    while not all(slow.post(message(f"after-{number}")).is_success for number in range(3)):
        assert time.monotonic() < after_s + 50
    figure("O1", f"{times} x capacity: refused of {outcome.due} due", outcome.statuses["503"])
    figure("O1", f"{times} x capacity: p99 of accepted (ms; unloaded: next)", outcome.percentile_ms(0.99))
    figure("O1", f"{times} x capacity: p99 unloaded (ms)", unloaded.percentile_ms(0.99))
    figure("O1", f"{times} x capacity: stored a second, part of the maximum", outcome.stored_per_s / best.stored_per_s)
    figure("O1", f"{times} x capacity: memory grown (MiB)", growth_bytes / MIB)
    figure("O1", f"{times} x capacity: normal after (s)", time.monotonic() - after_s)

    expect_order(outcome)
    assert growth_bytes < GROWTH_BYTES_MAX
    # The load comes from the same machine: what the figures promise is told by the table.
    assert outcome.percentile_ms(0.99) < 5 * 500
    assert outcome.stored_per_s > 0.1 * best.stored_per_s


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_retry_storm(slow: SlowDisk, figure: Figure) -> None:
    """Clients that come back at once, again and again, take little from what is stored."""
    best = offer(slow.port, 2 * CAPACITY, 10, QUEUE)
    outcome = offer(slow.port, 2 * CAPACITY, 60, 400, storm=True)
    figure("O2", "refused, and back at once", outcome.statuses["503"])
    figure("O2", "stored a second, part of the maximum", outcome.stored_per_s / best.stored_per_s)

    expect_order(outcome)
    assert outcome.stored_per_s > 0.1 * best.stored_per_s


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_thousands_of_clients_at_full_speed(server: RunningServer, figure: Figure) -> None:
    """Real capacity: each of four thousand clients sends again as soon as it is answered, and none is left waiting."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk makes the load and is not installed")
    way, first_ms = Way("/message", "json", 1), 1_732_631_573_782
    few, many = (
        post(server.port, way, connections=connections, seconds=20, first_ms=first_ms + number * 1_000_000_000)
        for number, connections in enumerate((100, 4000))
    )
    figure("O1", "4,000 clients at full speed: stored a second, part of that of 100", many.good / few.good)
    figure("O1", "4,000 clients at full speed: p99 (ms)", many.p99_ms)

    assert 0 == many.broken
    assert 0 == many.refused
    assert few.good + many.good <= server.rollup().readings
