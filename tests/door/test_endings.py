"""Clients that go, servers that stop, disks that block: every accepted request is answered, and nobody is disturbed."""

import json
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.door.wire import Answer, Wire, readings, request
from tests.serving import RunningServer, blocked_store, message

REQUEST = request(readings(1))
LIVEZ = request(method="GET", path="/livez")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, twenty seconds at most, for something that is about to happen."""
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def reset(wire: Wire) -> None:
    """Go without a farewell: the server's next write fails."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()


@pytest.mark.parametrize("data", [REQUEST, REQUEST * 20 + LIVEZ * 20 + request(b"{"), LIVEZ * 20 + REQUEST])
def test_who_is_gone_disturbs_nobody(server: RunningServer, data: bytes) -> None:
    """Clients that vanish before their answers keep no other from being answered, and leave no trace in the log."""
    with Wire(server) as first, Wire(server) as other:
        with blocked_store(server):
            first.send(REQUEST)
            wait_until(lambda: server.metric("heatfleet_queue_readings") >= 1)
            gone = [Wire(server).send(data) for _ in range(20)]
            other.send(REQUEST)
            wait_until(lambda: server.metric("heatfleet_queue_readings") >= 2)
            for wire in gone:
                reset(wire)

        assert 1 == first.answer().inserted
        assert 1 == other.answer().inserted
        assert 1 == other.send(REQUEST).answer().inserted


@pytest.mark.parametrize("data", [REQUEST * 3, LIVEZ + REQUEST, REQUEST + LIVEZ, LIVEZ])
def test_half_closed_clients_get_their_answers(server: RunningServer, data: bytes) -> None:
    """Who says that it sends no more is answered all the same, then closed."""
    with Wire(server) as wire:
        wire.send(data).socket.shutdown(socket.SHUT_WR)

        assert [200] * data.count(b"HTTP/1.1") == [one.status for one in wire.answers(data.count(b"HTTP/1.1"))]
        assert wire.is_closed()


def test_a_tiny_queue_refuses_at_once_and_in_order(start_server: Callable[..., RunningServer]) -> None:
    """Of 640 requests in flight 100 are kept, the others get 503 with Retry-After; each in its place."""
    server = start_server(queue_readings_max=100)
    server.expect_errors = True
    with Wire(server) as wire:
        with blocked_store(server):
            wire.send(b"".join(request(readings(1, f"d{number}")) for number in range(640)) + request(b"{"))
            wait_until(lambda: server.metric('heatfleet_http_answers_total{route="/message",status="503"}') >= 540)
        answers = wire.answers(641)
        stored = [answer.inserted == 1 for answer in answers[:640]]

        assert [True] * 100 + [False] * 540 == stored
        assert {(503, "1"), (503, "2"), (503, "3")} == {
            (one.status, dict(one.fields)["retry-after"]) for one in answers[100:640]
        }
        assert answers[640].status in (400, 503)
        assert 1 == wire.send(REQUEST).answer().inserted
    assert 101 == server.metric("heatfleet_readings_total")


def test_stopping_under_load_answers_what_was_accepted(server: RunningServer) -> None:
    """SIGTERM with clients at full speed: each is answered to the end and told to close; nothing answered is lost."""
    told: list[list[Answer]] = []

    def talk(name: str) -> list[Answer]:
        answers: list[Answer] = []
        with Wire(server) as wire:
            while not answers or ("connection", "close") not in answers[-1].fields:
                body = json.dumps(message(f"{name}-{len(answers)}")).encode()
                answers.append(wire.send(request(body)).answer())
            assert wire.is_closed()
        return answers

    with ThreadPoolExecutor(20) as clients:
        talks = [clients.submit(talk, f"d{number}") for number in range(20)]
        wait_until(lambda: server.metric("heatfleet_messages_total") > 500)
        server.process.terminate()
        told = [one.result() for one in talks]

    assert 0 == server.process.wait(15)
    assert {200} == {answer.status for answers in told for answer in answers}
    assert sum(len(answers) for answers in told) == server.rollup().readings


def test_stopping_lets_go_of_idle_and_slow_clients(server: RunningServer) -> None:
    """Idle connections and half requests do not keep a server that was told to leave."""
    idle, half, body, long_body = (Wire(server) for _ in range(4))
    idle.send(REQUEST).answer()
    half.send(REQUEST[:20])
    body.send(REQUEST[:-5])
    long_body.send(request(None, kind="", Transfer_Encoding="chunked") + b"5\r\nab")
    server.client.get("/livez")

    assert 0 == server.stop()
    for wire, status in ((idle, 0), (half, 408), (body, 408), (long_body, 408)):
        if status:
            assert status == wire.answer().status
        assert wire.is_closed()
        wire.socket.close()
