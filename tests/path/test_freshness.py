"""When a figure can be read: the open hour up to now, the hour closed long ago after one rollup, all by itself."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from heatfleet.domain.slots import HOUR_MS
from tests.path.conftest import WholeServer, wait_until
from tests.path.expected import expected_report, milliseconds, readings_in
from tests.serving import RunningServer, message, ndjson

OLD_MS = milliseconds("2024-11-26")
MINUTE_MS = 60_000


def said(device_id: str, time_ms: int, **values: float) -> dict[str, Any]:
    """A message that tells these properties at this time."""
    return message(device_id, *({"code": code, "time": time_ms, "value": value} for code, value in values.items()))


def post(server: RunningServer, *messages: dict[str, Any]) -> None:
    assert server.post(ndjson(*messages), Content_Type="application/x-ndjson").json()["status"] == "ok"


def report(server: RunningServer, device_id: str | None = None, **query: str) -> dict[str, dict[str, Any]]:
    """GET /report, which is never refused."""
    answer = server.client.get("/report", params=query | ({} if device_id is None else {"device_id": device_id}))
    assert answer.status_code == 200, answer.text
    told: dict[str, dict[str, Any]] = answer.json()
    return told


def test_what_comes_late_shows_after_one_rollup(server: RunningServer) -> None:
    """Readings for hours closed long ago: before, between and after what was known, and ones that contradict it."""
    on_time = [
        said(
            device, OLD_MS + minute * MINUTE_MS, temp_interior=19.0, **({} if minute % 60 else {"instant_power": 900.0})
        )
        for device in ("a", "b")
        for minute in (*range(0, 180, 15), *range(600, 720, 15))
    ]
    late = [
        said("a", OLD_MS - 5 * HOUR_MS, instant_power=2000.0),  # before the first word
        said("a", OLD_MS + 7 * MINUTE_MS, instant_power=0.0),  # in a quarter already counted
        said("b", OLD_MS + 60 * MINUTE_MS, instant_power=1000.0),  # the same instant told again, greater
        said("b", OLD_MS + 400 * MINUTE_MS, temp_interior=21.0),  # a sign of life in a silence
        said("c", OLD_MS + 100 * MINUTE_MS, instant_power=500.0),  # a device nobody knew
    ]
    now_ms = milliseconds("2026-01-01")
    post(server, *on_time)
    server.rollup()
    before = server.client.get("/report")
    post(server, *late)

    assert expected_report(readings_in(ndjson(*on_time).splitlines()), now_ms) == before.json()
    server.rollup()
    for device in (None, "a", "b", "c"):
        readings = [one for one in readings_in(ndjson(*on_time, *late).splitlines()) if device in (None, one.device_id)]
        assert expected_report(readings, now_ms) == report(server, device)
    assert server.client.get("/report", headers={"If-None-Match": before.headers["ETag"]}).status_code == 200


def test_the_open_hour_counts_up_to_now(server: RunningServer) -> None:
    """The hour that now lies in is there, not final, and grows with each rollup, also when nothing new is said."""
    now_ms = time.time_ns() // 1_000_000
    began_ms = now_ms - 20 * MINUTE_MS
    post(server, said("d1", began_ms, instant_power=1800.0))
    readings = readings_in([ndjson(said("d1", began_ms, instant_power=1800.0))])
    figures = []
    for later_ms in (0, 10 * MINUTE_MS, 30 * MINUTE_MS):
        server.rollup(now_ms + later_ms)
        told = report(server)
        assert expected_report(readings, now_ms + later_ms) == told
        figures.append(sum(wh for hours in told.values() for wh in hours.values()))
        cells = [cell for hours in report(server, detail="true").values() for cell in hours.values()]
        assert (now_ms + later_ms) % HOUR_MS == 0 or not cells[-1]["final"]

    assert [600, 900, 1500] == figures


def has_report(server: RunningServer, device_id: str) -> bool:
    return report(server, device_id) != {}


def test_figures_appear_by_themselves(start_whole_server: Callable[..., WholeServer]) -> None:
    """With its rollup beside it, a server shows what was posted, for today and for years ago, without being asked."""
    server = start_whole_server(rollup_every_s=0.2)
    now_ms = time.time_ns() // 1_000_000
    for number, time_ms in enumerate([now_ms - MINUTE_MS, OLD_MS, OLD_MS + 30 * MINUTE_MS]):
        post(server, said(f"d{number}", time_ms, instant_power=1000.0 + number))
        wait_until(partial(has_report, server, f"d{number}"))

    readings = readings_in([ndjson(said("d1", OLD_MS, instant_power=1001.0))])
    assert expected_report(readings, now_ms) == report(server, "d1")
    wait_until(lambda: server.metric("heatfleet_rollup_lag_seconds") == 0)


def test_a_device_is_answered_for_while_its_readings_find_their_place(server: RunningServer) -> None:
    """While rollups put readings of new days in place, the device's own report is there, as of before or after."""
    posted = 0
    seen = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(len(report(server, "d1")))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for posted in range(1, 16):
                post(server, said("d1", OLD_MS - posted * 24 * HOUR_MS, instant_power=1000.0))
                server.rollup()
        finally:
            stop.set()
    for reader in readers:
        reader.result()

    assert len(report(server, "d1")) == posted
    assert set(seen) <= set(range(posted + 1))
