"""POST /message under pressure: many at once, a blocked disk, clients that hang up, crashes and stops."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.serving import RunningServer, blocked_store, message


def post_of(device_id: str) -> bytes:
    """A whole request, as bytes."""
    body = json.dumps(message(device_id)).encode()
    return (b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)) + body


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, ten seconds at most, for something that is about to happen."""
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def waiting(server: RunningServer, readings: int) -> Callable[[], bool]:
    """Whether so many readings wait for the disk."""
    return lambda: readings == server.metric("heatfleet_queue_readings")


def test_many_at_once_are_all_stored(server: RunningServer) -> None:
    """Forty clients that post at the same time share commits; each answer is true."""
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(lambda n: server.post(message(f"d{n}")).content, range(1000)))

    assert [b'{"status":"ok","inserted":1}'] * 1000 == answers
    assert server.metric("heatfleet_commit_seconds_count") < 1000
    assert 1000 == server.rollup().readings


def test_a_full_queue_is_refused_at_once(start_server: Callable[..., RunningServer]) -> None:
    """Beyond the bound: 503 with Retry-After while the disk is blocked; what was accepted is stored after it."""
    server = start_server(queue_readings_max=2)
    server.expect_errors = True
    with ThreadPoolExecutor(2) as clients:
        with blocked_store(server):
            accepted = [clients.submit(server.post, message(f"d{number}")) for number in range(2)]
            wait_until(waiting(server, 2))
            refused = server.post(message("d9"))
            ready = server.client.get("/readyz")

        assert 503 == refused.status_code
        assert refused.headers["retry-after"].isdigit()
        assert "/problems/overloaded" == refused.json()["type"]
        assert 503 == ready.status_code
        assert [200, 200] == [answer.result().status_code for answer in accepted]
    assert 2 == server.rollup().readings
    assert 200 == server.client.get("/readyz").status_code


def test_a_blocked_disk_is_refused_before_the_queue_is_full(server: RunningServer) -> None:
    """When a commit does not come to its end, new messages get 503 after 2 s; reads go on; later all is well."""
    server.expect_errors = True
    with ThreadPoolExecutor(1) as clients:
        with blocked_store(server):
            stuck = clients.submit(server.post, message("d1"))
            wait_until(waiting(server, 1))
            wait_until(lambda: server.client.get("/readyz").status_code == 503)

            assert 503 == server.post(message("d2")).status_code
            assert 200 == server.client.get("/devices").status_code
            assert 200 == server.client.get("/livez").status_code

        assert stuck.result().status_code in (200, 503)
    assert 200 == server.post(message("d2")).status_code


def test_hanging_up_does_not_cancel_the_commit(server: RunningServer) -> None:
    """A client that leaves before its answer has its readings stored all the same."""
    with blocked_store(server), socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(post_of("d1"))
        wait_until(waiting(server, 1))
        connection.close()
        time.sleep(0.05)
    wait_until(waiting(server, 0))

    assert 1 == server.rollup().readings


def test_hanging_up_within_a_body_stores_nothing(server: RunningServer) -> None:
    """Half a message is no message, and leaves no trace in the log."""
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(post_of("d1")[:-20])
    server.post(message("d2"))

    assert 1 == server.rollup().readings


def test_requests_in_one_go_are_answered_in_order(server: RunningServer) -> None:
    """Pipelined requests, good and bad, get their answers in the order they were sent."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(
            post_of("d1") + post_of("d 2") + post_of("d3").replace(b"\r\nHost", b"\r\nConnection: close\r\nHost")
        )
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

    assert [b"200", b"422", b"200"] == [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]


def test_a_killed_server_has_kept_what_it_answered_for(server: RunningServer) -> None:
    """After kill -9 in the midst of writing, every answered message is there, and once."""
    answered: list[str] = []

    def post(number: int) -> None:
        try:
            if server.post(message(f"d{number}")).is_success:
                answered.append(f"d{number}")
        except httpx2.TransportError:
            pass

    with ThreadPoolExecutor(20) as clients:
        posts = [clients.submit(post, number) for number in range(2000)]
        wait_until(lambda: len(answered) > 200)
        server.kill()
        for waiting_post in posts:
            waiting_post.cancel()
    server.start()
    server.rollup()
    stored = {device for device in answered if server.client.get(f"/devices/{device}").is_success}

    assert set(answered) == stored


def test_a_stopped_server_answers_what_it_accepted(server: RunningServer) -> None:
    """SIGTERM while the disk is busy: the accepted message is stored and answered, then the server leaves."""
    with ThreadPoolExecutor(1) as clients:
        with blocked_store(server):
            accepted = clients.submit(server.post, message("d1"))
            wait_until(waiting(server, 1))
            server.process.terminate()
            time.sleep(0.2)
        answer = accepted.result()

    assert 0 == server.process.wait(15)
    assert 200 == answer.status_code
    assert 1 == server.rollup().readings
