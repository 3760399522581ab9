"""What is too large is refused without being kept, on every route."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.door.wire import Wire, readings, request
from tests.serving import SEED_MESSAGE, RunningServer

KIB = 1024
MIB = 1024 * KIB
CHUNKED = request(None, kind="", Transfer_Encoding="chunked")
LIVEZ = request(method="GET", path="/livez")


def memory_kib(server: RunningServer) -> int:
    """The most memory the server's process ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


HEADS = {
    "64 KiB": request(method="GET", path="/livez", Cookie="x" * 64 * KIB),
    "64 KiB, plain otherwise": request(SEED_MESSAGE, Cookie="x" * 64 * KIB),
    "300 fields": LIVEZ[:-2] + b"X: 1\r\n" * 300 + b"\r\n",
    "a field of 1 MiB without end": LIVEZ[:-2] + b"X: " + b"x" * MIB,
    "a name of 1 MiB without end": LIVEZ[:-2] + b"x" * MIB,
    "a URL of 1 MiB": request(method="GET", path="/" + "x" * MIB),
    "a trailer of 1 MiB": CHUNKED + b"0\r\nX: " + b"x" * MIB,
    "300 trailers": CHUNKED + b"0\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
    "a chunk extension of 1 MiB": CHUNKED + b"5;" + b"x" * MIB,
}


@pytest.mark.parametrize("name", HEADS)
def test_large_heads(door: RunningServer, name: str) -> None:
    """16 KiB and 100 fields are enough for a head, and for what may follow a chunked body."""
    with Wire(door) as wire:
        answer = wire.send(HEADS[name]).answer()

        assert 431 == answer.status
        assert b"/problems/head-too-large" in answer.body
        assert wire.is_closed()


@pytest.mark.parametrize("size", [1 * KIB, 3 * KIB, 15 * KIB])
def test_heads_that_are_taken(door: RunningServer, size: int) -> None:
    """A head below the limit is fine, alone and behind large bodies in the same piece."""
    one = request(SEED_MESSAGE + b" " * 20 * KIB, Cookie="x" * size)
    with Wire(door) as wire:
        wire.send(one * 20)

        assert [1] * 20 == [answer.inserted for answer in wire.answers(20)]


@pytest.mark.parametrize("path", ["/message", "/send", "/livez", "/nothing"])
def test_endless_bodies(door: RunningServer, path: str) -> None:
    """A chunked body without end is refused or cut off, by routes that read it and by those that do not."""
    head = request(None, path=path, Content_Type="application/json", Transfer_Encoding="chunked")
    before_kib = memory_kib(door)
    with Wire(door) as wire:
        wire.send(head, *[b"10000\r\n%s\r\n" % (b"x" * 64 * KIB)] * 400)
        if path in ("/message", "/send"):
            assert 413 == wire.answer().status
        else:
            assert wire.answer().status in (404, 405)

        assert wire.is_closed()
    assert memory_kib(door) - before_kib < 32 * KIB


def test_a_body_that_nobody_reads_is_not_kept(door: RunningServer) -> None:
    """A route answers without the body that is announced; what comes of it is thrown away."""
    with Wire(door) as wire:
        wire.send(request(method="GET", path="/livez", Content_Length=str(MIB)))

        assert 200 == wire.answer().status

        wire.send(b"x" * MIB + LIVEZ)

        assert 200 == wire.answer().status


def test_a_pipeline_does_not_fill_the_memory(door: RunningServer) -> None:
    """Whoever sends requests without reading answers is read from only as fast as answers are made."""
    before_kib = memory_kib(door)
    with Wire(door) as wire:
        wire.socket.settimeout(0.5)
        data = (LIVEZ * 50 + request(readings(1))) * 100
        try:
            for _ in range(50):
                wire.socket.sendall(data)
        except TimeoutError:
            pass
    assert memory_kib(door) - before_kib < 32 * KIB


def test_connections_have_a_limit(start_server: Callable[..., RunningServer]) -> None:
    """One connection too many is told so and closed; when another goes, there is room again."""
    server = start_server(limits={"connections": 5})
    server.client.close()
    kept = [Wire(server) for _ in range(5)]
    assert [200] * 5 == [wire.send(LIVEZ).answer().status for wire in kept]
    with Wire(server) as one_more:
        answer = one_more.answer()

        assert 503 == answer.status
        assert "retry-after" in dict(answer.fields)
        assert one_more.is_closed()
    for wire in kept:
        wire.socket.close()
    with Wire(server) as again:
        assert 200 == again.send(LIVEZ).answer().status
