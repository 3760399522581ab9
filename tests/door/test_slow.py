"""Slow clients are sent away, each at its deadline, and hurt nobody meanwhile."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.door.wire import WAIT_S, Wire, readings, request
from tests.serving import RunningServer

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


@pytest.mark.parametrize(("count", "limits"), [(200, SHORT), pytest.param(1500, None, marks=pytest.mark.soak)])
def test_slow_clients_are_sent_away(
    start_server: Callable[..., RunningServer], count: int, limits: dict[str, float] | None
) -> None:
    """Clients that are slow in eight forms are all closed, told why where there is a request; a good one is served."""
    server = start_server(limits=limits)
    server.client.close()
    forms = list(FORMS.values())
    before = open_files(server)
    slow = {Wire(server): forms[number % len(forms)] for number in range(count)}
    for wire, (first, _, _) in slow.items():
        wire.send(first)
        wire.socket.setblocking(False)
    got = dict.fromkeys(slow, b"")
    still_open = set(slow)
    deadline_s = time.monotonic() + 3 * WAIT_S
    step = 0
    while still_open and time.monotonic() < deadline_s:
        with Wire(server) as good:
            assert 1 == good.send(REQUEST).answer().inserted
        for wire in list(still_open):
            trickle = slow[wire][1]
            wire.send(trickle[step : step + 1])
            try:
                data = wire.socket.recv(4096)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            got[wire] += data
            if not data:
                still_open.remove(wire)
        step += 1
        time.sleep(0.05)

    for wire in slow:
        wire.socket.close()
    assert not still_open
    assert [told for _, _, told in slow.values()] == [b"HTTP/1.1 408 " in got[wire] for wire in slow]
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
