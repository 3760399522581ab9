"""Reports that are long or many are answered or refused in time, and hold up neither each other nor messages."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from tests.door.wire import Wire, request
from tests.filled import fill_figures
from tests.serving import RunningServer, message

SHORT = "/report?from=2020-01-01&to=2020-01-02"
YEAR = "/report?from=2020-01-01&to=2021-01-01"
LONG = "/report?interval=quarter&detail=true"


@pytest.fixture
def impatient(start_server: Callable[..., RunningServer]) -> RunningServer:
    """A server whose reports may take a third of a second, with more figures than can be read in it."""
    server = start_server(report_timeout_s=0.3)
    fill_figures(server.store_path, 20)
    return server


def test_a_report_has_a_deadline(impatient: RunningServer) -> None:
    """A report that takes too long is refused with its own problem; a short one is made before and after it."""
    for _ in range(2):
        assert 200 == impatient.client.get(SHORT).status_code
        refused = impatient.client.get(LONG)

        assert 503 == refused.status_code
        assert "/problems/report-too-slow" == refused.json()["type"]
        assert int(refused.headers["retry-after"]) >= 1
        time.sleep(1)  # what was begun comes to its next look, and gives its place free


def test_many_long_reports_hold_up_nobody(impatient: RunningServer) -> None:
    """Of a hundred at once each is answered, with its figures or a refusal; then all is as before."""
    with ThreadPoolExecutor(100) as clients:
        reports = list(clients.map(impatient.client.get, [LONG] * 100))

    assert {503} == {one.status_code for one in reports}
    assert {"/problems/report-too-slow", "/problems/overloaded"} == {one.json()["type"] for one in reports}
    assert all(int(one.headers["retry-after"]) >= 1 for one in reports)
    time.sleep(1)
    assert 200 == impatient.client.get(SHORT).status_code
    assert 200 == impatient.post(message()).status_code


def test_year_reports_beside_messages(server: RunningServer) -> None:
    """Eight callers ask for a year again and again while others post: no message and no report is refused."""
    fill_figures(server.store_path, 1)
    with ThreadPoolExecutor(24) as pool:
        reports = [pool.submit(server.client.get, YEAR) for _ in range(8) for _ in range(2)]
        posts = [pool.submit(server.post, message(f"d{number}")) for number in range(16 * 50)]
        wait([*reports, *posts])

    assert {200} == {one.result().status_code for one in posts}
    assert {200} == {one.result().status_code for one in reports}
    assert 366 == len(reports[0].result().json())


def test_who_hangs_up_gets_no_report(start_server: Callable[..., RunningServer]) -> None:
    """A hundred callers who ask for long reports and leave do not keep the next one waiting: theirs are not made."""
    server = start_server(report_timeout_s=60)
    fill_figures(server.store_path, 20)
    for _ in range(100):
        with Wire(server) as wire:
            wire.send(request(method="GET", path=LONG))
    assert 200 == server.client.get(SHORT).status_code
    assert 1 == server.metric('heatfleet_http_answers_total{route="/report",status="200"}')
