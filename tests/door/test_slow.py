"""Slow clients are sent away, each at its deadline, and hurt nobody meanwhile."""

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from heatfleet.api.door import allow_many_files
from tests.door.wire import WAIT_S, Wire, readings, request
from tests.figures import Figure
from tests.serving import RunningServer

GOOD_WAIT_S = 10.0
"""Far more than it takes: who waits so long hangs."""
BODY = readings(1)
REQUEST = request(BODY)
# Too much to get through before the deadline, a byte at a time.
TRICKLED = request(BODY + b" " * 2000, X_Pad="x" * 1500)
LONG = request(None, kind="", X_Long="1", Transfer_Encoding="chunked") + b"5\r\nabc"
SHORT = {"head_s": 1.0, "body_s": 1.0, "idle_s": 1.0, "write_s": 1.0, "linger_s": 0.5}
# What a slow client sends at once, what it trickles, and whether it is told that it was too slow.
FORMS = {
    "silent": (b"", b"", False),
    "half a head": (REQUEST[:30], b"", True),
    "a trickled head": (TRICKLED[:30], TRICKLED[30:], True),
    "a stalled body": (REQUEST[:-30], b"", True),
    "a trickled body": (TRICKLED[:-2000], TRICKLED[-2000:], True),
    "a stalled body by the long way": (LONG, b"", True),
    "idle": (REQUEST, b"", False),
    "idle by the long way": (request(method="GET", path="/livez"), b"", False),
}


def open_files(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


class Slow:
    """One slow client: its connection, the form it is slow in, what it was told, and since when and how long."""

    def __init__(self, server: RunningServer, form: str) -> None:
        self.form = form
        first, self.trickle, self.is_told = FORMS[form]
        self.wire = Wire(server).send(first)
        self.wire.socket.setblocking(False)
        self.got = b""
        self.began_s = time.monotonic()
        self.lasted_s = 0.0

    def step(self, number: int) -> bool:
        """Send one byte more, if there is one, and look what came; whether the connection is still open."""
        if number < len(self.trickle):
            self.wire.send(self.trickle[number : number + 1])
        try:
            data = self.wire.socket.recv(4096)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        self.got += data
        self.lasted_s = time.monotonic() - self.began_s
        return bool(data)


@pytest.mark.parametrize(
    ("count", "limits"), [(1500, SHORT), pytest.param(5000, None, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
def test_slow_clients_are_sent_away(
    start_server: Callable[..., RunningServer], figure: Figure, count: int, limits: dict[str, float] | None
) -> None:
    """Clients that are slow in eight forms are all closed, told why where there is a request; a good one is served."""
    allow_many_files()
    server = start_server(limits=limits)
    server.client.close()
    before = open_files(server)
    slow = [Slow(server, form) for form, _ in zip(cycle(FORMS), range(count), strict=False)]
    still_open = list(slow)
    served_s: list[float] = []
    deadline_s = time.monotonic() + 4 * WAIT_S
    step = 0
    while still_open and time.monotonic() < deadline_s:
        began_s = time.monotonic()
        with Wire(server) as good:
            assert 1 == good.send(REQUEST).answer().inserted
        served_s.append(time.monotonic() - began_s)
        still_open = [client for client in still_open if client.step(step)]
        step += 1
        time.sleep(0.05)

    for client in slow:
        client.wire.socket.close()
    assert not still_open
    assert [client.is_told for client in slow] == [b"HTTP/1.1 408 " in client.got for client in slow]
    assert max(served_s) < GOOD_WAIT_S
    while open_files(server) > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert open_files(server) <= before
    figure(
        "S1", f"{count} slow connections: p99 of a good client, connecting anew (ms)", 1000 * percentile_99(served_s)
    )
    for form in FORMS:
        lasted_s = max(client.lasted_s for client in slow if client.form == form)
        figure("S1", f"{count} slow connections: the last closed of '{form}' (s)", lasted_s)


def percentile_99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


def test_idle_streams_hurt_nobody(server: RunningServer) -> None:
    """Hundreds who listen for orders and hear none do not slow down others, and leave nothing behind when they go."""
    before = open_files(server)
    listening = request(method="GET", path="/commands/stream?device_id=d1")
    streams = [Wire(server).send(listening) for _ in range(300)]
    for wire in streams:
        assert b" 200 " in wire.socket.recv(4096)
    with Wire(server) as good:
        for _ in range(50):
            assert 1 == good.send(REQUEST).answer().inserted
    server.client.post("/send", json={"device_id": "d1", "switch": True})
    for wire in streams:
        heard = b""
        while b"event: command" not in heard:
            heard += (more := wire.socket.recv(4096))
            assert more
        wire.socket.close()
    deadline_s = time.monotonic() + WAIT_S
    while open_files(server) > before and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert open_files(server) <= before


def test_a_slow_body_that_earns_its_time_is_taken(start_server: Callable[..., RunningServer]) -> None:
    """A body that comes steadily may take longer than the deadline of one that does not."""
    server = start_server(limits=SHORT | {"body_bytes_per_s": 10_000})
    for body in (BODY + b" " * 40_000, BODY + b" " * 80_000):
        data = request(body)
        with Wire(server) as wire:
            for start in range(0, len(data), len(data) // 20):
                wire.send(data[start : start + len(data) // 20])
                time.sleep(0.1)

            assert 1 == wire.answer().inserted


def send_for_ever(wire: Wire, data: bytes) -> None:
    """Send the data again and again, and wait while it is not taken."""
    deadline_s = time.monotonic() + 2 * WAIT_S
    rest = b""
    while time.monotonic() < deadline_s:
        rest = rest or data
        try:
            rest = rest[wire.socket.send(rest) :]
        except TimeoutError:
            time.sleep(0.1)


def test_who_does_not_read_is_cut_off(start_server: Callable[..., RunningServer]) -> None:
    """A client that asks and never reads cannot keep its connection, nor fill the server's memory."""
    server = start_server(limits=SHORT)
    for data in (request(b"") * 500, request(method="GET", path="/metrics") * 200):
        with Wire(server) as wire:
            wire.socket.settimeout(0.2)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                send_for_ever(wire, data)
    with Wire(server) as wire:
        assert 1 == wire.send(REQUEST).answer().inserted


def test_waiting_for_us_is_not_slow(start_server: Callable[..., RunningServer]) -> None:
    """A stream of orders is open for as long as the client likes; deadlines are for what the client owes."""
    server = start_server(limits=SHORT)
    with server.client.stream("GET", "/commands/stream?device_id=d1") as answer:
        time.sleep(3 * SHORT["idle_s"])
        server.client.post("/send", json={"device_id": "d1", "switch": True})

        assert 200 == answer.status_code
        assert "d1" in next(line for line in answer.iter_lines() if line.startswith("data:"))
