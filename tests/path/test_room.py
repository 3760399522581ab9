"""Days become archives and go while the server is at work: reports are what they were."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from heatfleet.domain.slots import DAY_MS
from heatfleet.storage import open_store
from tests.contract.test_retention import make_room
from tests.path.conftest import WholeServer, wait_until
from tests.path.expected import expected_report, milliseconds, readings_in
from tests.path.test_freshness import MINUTE_MS, OLD_MS, post, report, said
from tests.serving import RunningServer, ndjson

NOW_MS = milliseconds("2026-01-01")
HISTORY = [
    said(device, OLD_MS + minute * MINUTE_MS, temp_interior=19.0, **({} if minute % 120 else {"instant_power": 900.0}))
    for minute in range(0, 4 * 24 * 60, 40)
    for device in ("a", "b")
]


def test_a_server_archives_by_itself(start_whole_server: Callable[..., WholeServer]) -> None:
    """Beside its rollups, without being asked; what comes late for an archived day is counted like anything else."""
    server = start_whole_server(rollup_every_s=0.2, archive_after_days=1)
    folder = server.store_path.with_name("heatfleet.db.d")
    late = said("a", OLD_MS + 7 * MINUTE_MS, instant_power=1700.0)
    post(server, *HISTORY)
    wait_until(lambda: len([*folder.glob("readings-*.parquet")]) == 2 and len([*folder.glob("readings-*.db")]) == 2)
    post(server, late)
    readings = [one for one in readings_in(ndjson(*HISTORY, late).splitlines()) if one.device_id == "a"]

    wait_until(lambda: report(server, "a") == expected_report(readings, NOW_MS))


def test_a_device_is_answered_for_while_its_days_are_archived(start_server: Callable[..., RunningServer]) -> None:
    """Its report is whole at every moment, also when archives are made anew with what came late."""
    server = start_server(archive_after_days=1)
    post(server, *HISTORY)
    server.rollup()
    whole = report(server, "b")
    seen = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(report(server, "b"))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for round_ in range(4):
                with closing(open_store(server.store_url, writable=False)) as store:
                    make_room(store)
                post(server, *(said("a", OLD_MS + day * DAY_MS + round_, instant_power=5.0) for day in range(2)))
                server.rollup()
        finally:
            stop.set()
    for reader in readers:
        reader.result()

    assert [whole] * len(seen) == seen != []
