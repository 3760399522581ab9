"""Another process holds the store's files locked: refused soon, nothing lost, and all is well when it lets go."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import apsw
import pytest

from heatfleet.storage import open_store
from tests.figures import Figure
from tests.kept import kept_readings
from tests.oracle import defined, told
from tests.path.conftest import WholeServer
from tests.serving import RunningServer, blocked_store
from tests.talker import Talker, taken, talking

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
TALKERS = 20
HANGS_S = 30
"""No answer takes so long, on any machine; that it is 2 s is measured."""


@contextmanager
def locked(server: RunningServer) -> Iterator[None]:
    """Hold the journal and the main file, as a careless script would."""
    with closing(apsw.Connection(str(server.store_path))) as main, blocked_store(server):
        main.set_busy_timeout(HANGS_S * 1000)
        main.execute("BEGIN IMMEDIATE")
        yield


def refused_while_locked(server: WholeServer, locked_s: float, figure: Figure) -> None:
    server.expect_errors = True
    talkers = [Talker(f"d{number}", START_MS, HANGS_S) for number in range(TALKERS)]
    with talking(server, talkers):
        with locked(server):
            began_s = time.monotonic()
            while time.monotonic() - began_s < locked_s:
                assert server.metric("heatfleet_queue_readings") <= TALKERS
                assert server.client.get("/report").is_success
                assert server.client.get("/livez").is_success
                time.sleep(0.2)
            assert server.client.get("/readyz").status_code == 503
            assert all(one.refused for one in talkers)
        freed_s = time.monotonic()
        before = [len(one.sent) for one in talkers]
        while any(len(one.sent) == count for one, count in zip(talkers, before, strict=True)):
            assert time.monotonic() - freed_s < HANGS_S
            time.sleep(0.005)
        back_s = time.monotonic() - freed_s
    now_ms = server.rollup().as_of_ms
    assert set(taken(talkers)) == kept_readings(server.store_path)
    with closing(open_store(server.store_url, writable=False)) as store:
        assert defined(taken(talkers), now_ms) == told(store.figures())
    assert 1 == len([line for line in server.log() if line["event"] == "readings cannot be stored"])
    figure("D6", "files held locked by another process (s)", locked_s)
    figure("D6", "longest wait for any answer meanwhile (s)", max(one.longest_s for one in talkers))
    figure("D6", "all clients served again after it let go (s)", back_s)


def test_a_locked_file_is_refused_soon_until_it_is_free(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """While another process holds the files: 503, reads go on; afterwards every reading is taken, and counted once."""
    refused_while_locked(start_whole_server(rollup_every_s=0.5), 5.0, figure)


@pytest.mark.soak
def test_a_file_locked_for_long_is_refused_soon_until_it_is_free(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """The same for half a minute."""
    refused_while_locked(start_whole_server(rollup_every_s=0.5), 30.0, figure)
