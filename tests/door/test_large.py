"""Large bodies: while they are decoded elsewhere nobody else waits, and whatever happens meanwhile, all is answered."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.door.wire import NDJSON, Wire, readings, request
from tests.serving import RunningServer, message, ndjson

BATCH = request(ndjson(*[message(f"d{number}") for number in range(1000)]), kind=NDJSON)
ONE = request(readings(1))
ANNOUNCED = request(None, kind=NDJSON, Content_Type=NDJSON, Content_Length=str(2**23))
ROOM = 32
"""So many bodies of 8 MiB may be under way at once."""


def decoders_of(server: RunningServer) -> list[int]:
    """The process ids of the server's decoders."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(child) for child in children if b"heatfleet.api.decoder" in Path(f"/proc/{child}/cmdline").read_bytes()]


@contextmanager
def frozen_decoders(server: RunningServer) -> Iterator[list[int]]:
    """All decoders there may be exist, and do nothing until the block ends."""
    wires = [Wire(server).send(BATCH) for _ in range(4 * (os.cpu_count() or 1))]
    assert [1000] * len(wires) == [wire.answer().inserted for wire in wires]
    for wire in wires:
        wire.socket.close()
    deadline_s = time.monotonic() + 20
    while len(decoders := decoders_of(server)) < (os.cpu_count() or 1):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    for decoder in decoders:
        os.kill(decoder, signal.SIGSTOP)
    try:
        yield decoders
    finally:
        for decoder in decoders:
            os.kill(decoder, signal.SIGCONT)


def test_others_are_answered_meanwhile(server: RunningServer) -> None:
    """While a body is decoded, its own connection waits and no other."""
    with Wire(server) as busy, Wire(server) as other:
        with frozen_decoders(server):
            busy.send(ONE + BATCH + ONE)

            assert 1 == busy.answer().inserted
            assert [1] * 50 == [one.inserted for one in other.send(ONE * 50).answers(50)]

        assert [1000, 1] == [one.inserted for one in busy.answers(2)]


def test_a_half_closed_client_gets_its_answer(server: RunningServer) -> None:
    """Who sends a large body and says that nothing more comes is answered, then closed."""
    with Wire(server) as wire:
        wire.send(BATCH).socket.shutdown(socket.SHUT_WR)

        assert 1000 == wire.answer().inserted
        assert wire.is_closed()


def test_who_is_gone_is_stored_all_the_same(server: RunningServer) -> None:
    """A client that leaves while its body is decoded disturbs nobody; what was all there is stored."""
    with frozen_decoders(server):
        before = server.metric("heatfleet_readings_total")
        wire = Wire(server).send(BATCH)
        time.sleep(0.2)
        wire.socket.close()
    deadline_s = time.monotonic() + 20
    while server.metric("heatfleet_readings_total") < before + 1000:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_stopped_server_answers_what_it_took(server: RunningServer) -> None:
    """SIGTERM while a body is decoded: it is decoded, stored and answered before the server leaves."""
    with Wire(server) as wire:
        with frozen_decoders(server):
            wire.send(BATCH)
            time.sleep(0.2)
            server.process.terminate()
            time.sleep(0.2)
        answer = wire.answer()

        assert 1000 == answer.inserted
        assert ("connection", "close") in answer.fields
    assert 0 == server.process.wait(15)


def test_a_lost_decoder_is_replaced(server: RunningServer) -> None:
    """The body that it had is decoded by another, and answered as if nothing had happened."""
    server.expect_errors = True
    with frozen_decoders(server) as decoders:
        wires = [Wire(server).send(BATCH) for _ in decoders]
        time.sleep(0.2)
        os.kill(decoders[0], signal.SIGKILL)
    for wire in wires:
        assert 1000 == wire.answer().inserted
        assert 1000 == wire.send(BATCH).answer().inserted
        wire.socket.close()


@pytest.mark.parametrize("end", ["gone", "complete"])
def test_bodies_share_a_bound(server: RunningServer, end: str) -> None:
    """One large body too many is refused for now, a small one is not; those that end give their room back."""
    wires = [Wire(server).send(ANNOUNCED + b"\n") for _ in range(ROOM)]
    time.sleep(0.5)
    with Wire(server) as late:
        refused = late.send(BATCH).answer()

        assert 503 == refused.status
        assert b"/problems/overloaded" in refused.body
    with Wire(server) as small:
        assert 1 == small.send(ONE).answer().inserted
    if end == "complete":
        for wire in wires:
            wire.send(b"\n" * (2**23 - 1))
            assert 200 == wire.answer().status
    for wire in wires:
        wire.socket.close()
    time.sleep(0.2)
    with Wire(server) as again:
        assert 1000 == again.send(BATCH).answer().inserted
