"""Bodies that are much larger than they look, or never end: refused early, and without the memory for them."""

import gzip
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.door.test_large import decoders_of
from tests.door.wire import NDJSON, Wire, readings, request
from tests.serving import RunningServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
GROWTH_KIB_MAX = 40 * 1024
"""What one bomb may add to the server, and to a decoder: twice what a batch may have, unpacked, and some."""
TAKEN_BYTES_MAX = 2 * 9 * MIB + 16 * MIB
"""What is read of a body without end: twice a batch and a MiB, before and after its answer, and what sockets hold."""
BODY = readings(1)
HIDDEN = request(readings(9))


def peaks_kib(server: RunningServer) -> dict[int, int]:
    """The most memory that the server and each of its decoders ever had."""
    pids = [server.process.pid, *decoders_of(server)]
    words = (Path(f"/proc/{pid}/status").read_text(encoding="ascii").partition("VmHWM:")[2] for pid in pids)
    return {pid: int(word.split()[0]) for pid, word in zip(pids, words, strict=True)}


@pytest.fixture(scope="module")
def warm(shared_server: RunningServer) -> RunningServer:
    """A server whose decoders have had a batch of the greatest size."""
    for _ in range(4):
        with Wire(shared_server) as wire:
            assert 200 == wire.send(request(b"\n" * 8 * MIB, kind=NDJSON)).answer().status
    return shared_server


def taken_of(wire: Wire, piece: bytes, size: int) -> int:
    """How much of a body of so many bytes the server takes before it closes."""
    sent = 0
    try:
        while sent < size:
            sent += wire.socket.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


@pytest.mark.parametrize("path", ["/message", "/send", "/livez"])
@pytest.mark.parametrize("length", ["chunked", "announced"])
def test_a_gigabyte_is_not_read(warm: RunningServer, path: str, length: str) -> None:
    """The connection is closed when some of it has come; the answer, where one is due, was there before."""
    before_kib = peaks_kib(warm)
    fields = {"Content_Length": str(1024 * MIB)} if length == "announced" else {"Transfer_Encoding": "chunked"}
    with Wire(warm) as wire:
        wire.send(request(None, path=path, Content_Type="application/json", **fields))
        piece = b"10000\r\n%s\r\n" % (b"x" * 65536) if length == "chunked" else b"x" * 65536

        assert taken_of(wire, piece, 1024 * MIB) < TAKEN_BYTES_MAX
    after_kib = peaks_kib(warm)
    assert all(after_kib[pid] - before < GROWTH_KIB_MAX for pid, before in before_kib.items())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    ("first", "kind"),
    [(b"[", "application/json"), (b"{", "application/json"), (b" ", "application/json"), (b"\n", NDJSON)],
)
def test_what_unpacks_to_a_thousand_times_its_size(warm: RunningServer, encoding: str, first: bytes, kind: str) -> None:
    """A few hundred kilobytes that become hundreds of megabytes are 413, and take the memory of one batch."""
    plain = first + bytes(200 * MIB)
    body = gzip.compress(plain, 1) if encoding == "gzip" else zstd.compress(plain, 1)
    assert len(body) < len(plain) / 200
    before_kib = peaks_kib(warm)
    with Wire(warm) as wire:
        answer = wire.send(request(body, kind=kind, Content_Encoding=encoding)).answer()

    assert (413, True) == (answer.status, b"/problems/too-large" in answer.body)
    after_kib = peaks_kib(warm)
    assert all(after_kib[pid] - before < GROWTH_KIB_MAX for pid, before in before_kib.items())


def test_what_is_packed_twice_is_unpacked_once(warm: RunningServer) -> None:
    """One encoding is taken; what is still packed after it is no JSON, and two that are announced are refused."""
    twice = gzip.compress(gzip.compress(BODY))
    with Wire(warm) as wire:
        wire.send(request(twice, Content_Encoding="gzip"), request(twice, Content_Encoding="gzip, gzip"))
        wire.send(request(twice, Content_Encoding="gzip", content_encoding="gzip"))

        assert [400, 415, 415] == [answer.status for answer in wire.answers(3)]


@pytest.mark.parametrize("data", [request(BODY, **{f"X_{number}": "1" for number in range(10_000)})])
def test_ten_thousand_fields(warm: RunningServer, data: bytes) -> None:
    """Are 431, long before the last of them."""
    with Wire(warm) as wire:
        assert 431 == wire.send(data).answer().status
        assert wire.is_closed()


def test_a_length_that_is_too_small(warm: RunningServer) -> None:
    """What is left over is no request, and is answered as such; nothing behind it is served."""
    before = warm.metric("heatfleet_readings_total")
    with Wire(warm) as wire:
        wire.send(request(BODY).replace(b": %d\r" % len(BODY), b": %d\r" % (len(BODY) - 5)) + HIDDEN)

        assert [400, 400] == [answer.status for answer in wire.answers(2)]
        assert wire.is_closed()
    assert before == warm.metric("heatfleet_readings_total")


def test_a_length_that_is_too_large(start_server: Callable[..., RunningServer]) -> None:
    """The rest never comes: 408 and closed; what was to come, and is there, is the body and no request."""
    server = start_server(limits={"body_s": 0.5})
    for more in (b"", HIDDEN):
        with Wire(server) as wire:
            wire.send(request(BODY).replace(b": %d\r" % len(BODY), b": %d\r" % (len(BODY) + 5000)) + more)

            assert 408 == wire.answer().status
            assert wire.is_closed()
    with Wire(server) as wire:  # who says that no more comes
        wire.send(request(BODY)[:-5]).socket.shutdown(socket.SHUT_WR)

        assert wire.is_closed()
    assert 0 == server.metric("heatfleet_readings_total")
