"""POST /message: sizes, encodings and bombs."""

import gzip
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.serving import SEED_MESSAGE, RunningServer, message, ndjson

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB = 1024
MIB = 1024 * KIB
NDJSON = "application/x-ndjson"


def padded(size: int) -> bytes:
    """A good message of exactly this many bytes."""
    bare = json.dumps(message(dataId="")).encode()
    return json.dumps(message(dataId="x" * (size - len(bare)))).encode()


def packed(content: bytes, encoding: str) -> bytes:
    """The content as the encoding has it."""
    if encoding == "zstd":
        return zstd.compress(content)
    return gzip.compress(content) if "gzip" in encoding.lower() else content


def pieces(content: bytes) -> Iterator[bytes]:
    """The content in pieces, so that it is sent chunked and its length is not announced."""
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_one_message_may_have_256_kib(shared_server: RunningServer, encoding: str, chunked: bool) -> None:
    """A message of just the limit is stored, a byte more is 413, however it is sent."""
    for size, status in ((256 * KIB, 200), (256 * KIB + 1, 413)):
        body = packed(padded(size), encoding)
        answer = shared_server.client.post(
            "/message",
            content=pieces(body) if chunked else body,
            headers={"Content-Type": "application/json", "Content-Encoding": encoding},
        )

        assert status == answer.status_code
        if status == 413:
            assert "/problems/too-large" == answer.json()["type"]


@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
def test_a_batch_may_have_8_mib(shared_server: RunningServer, content_type: str) -> None:
    """A batch of just the limit is stored, a byte more is 413."""
    count = 40
    one = padded(200 * KIB)
    batch = b"[" + b",".join([one] * count) + b"]" if content_type != NDJSON else b"\n".join([one] * count)
    for size, status in ((8 * MIB, 200), (8 * MIB + 1, 413)):
        answer = shared_server.post(batch + b" " * (size - len(batch)), Content_Type=content_type)

        assert status == answer.status_code


def test_a_batch_may_have_10_000_messages(shared_server: RunningServer) -> None:
    """The message too many is 413, and none is stored."""
    stored = shared_server.metric("heatfleet_readings_total")
    lines = ndjson(*[message()] * 10_000)

    assert 413 == shared_server.post(lines + ndjson(message()), Content_Type=NDJSON).status_code
    assert stored == shared_server.metric("heatfleet_readings_total")
    assert {"status": "ok", "inserted": 10_000} == shared_server.post(lines, Content_Type=NDJSON).json()


def test_a_length_that_is_announced_too_large_is_not_read(shared_server: RunningServer) -> None:
    """The head alone is answered with 413, and a body that follows is thrown away, so that the answer can be read."""
    with socket.create_connection((shared_server.host, shared_server.port), timeout=10) as connection:
        connection.sendall(b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
        answer = connection.recv(4096)

    assert b"HTTP/1.1 413 " == answer[:13]


@pytest.mark.parametrize(("path", "size"), [("/message", 9_000_000), ("/send", 3_000_000)])
def test_who_sends_first_can_read_that_it_was_too_much(shared_server: RunningServer, path: str, size: int) -> None:
    """The refusal is not lost to a reset, and the connection serves the next request."""
    with closing(HTTPConnection(shared_server.host, shared_server.port, timeout=10)) as connection:
        statuses = []
        for body in (b"x" * size, b"{"):
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)

    assert [413, 400] == statuses


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "zstd", "identity", ""])
def test_encodings_that_are_taken(shared_server: RunningServer, encoding: str) -> None:
    """Gzip and zstd bodies are stored like plain ones, single messages and batches."""
    single = shared_server.post(packed(SEED_MESSAGE, encoding), Content_Encoding=encoding)
    batch = shared_server.post(packed(b"[" + SEED_MESSAGE + b"]", encoding), Content_Encoding=encoding)

    assert b'{"status":"ok","inserted":1}' == single.content
    assert b'{"status":"ok","inserted":1}' == batch.content


@pytest.mark.parametrize("encoding", ["br", "deflate", "compress", "gzip, gzip", "gzip, zstd", "aws-chunked"])
def test_other_encodings_are_refused(shared_server: RunningServer, encoding: str) -> None:
    """An encoding that is not taken is 415, with the ones that are."""
    answer = shared_server.post(SEED_MESSAGE, Content_Encoding=encoding)

    assert 415 == answer.status_code
    assert "gzip, zstd" == answer.headers["accept-encoding"]
    assert "/problems/unsupported-encoding" == answer.json()["type"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_broken_encoding_is_told_from_broken_json(shared_server: RunningServer, encoding: str) -> None:
    """Bytes that are not what the encoding says, are cut short or go on after the end, are 400."""
    whole = packed(SEED_MESSAGE, encoding)
    for body in (b"", SEED_MESSAGE, whole[:-5], whole[: len(whole) // 2], whole + b"x", whole + whole):
        answer = shared_server.post(body, Content_Encoding=encoding)

        assert 400 == answer.status_code
        assert "/problems/broken-encoding" == answer.json()["type"]


@pytest.mark.parametrize("item", [b"1", b"[]", b"{}", b'""'])
def test_an_array_of_millions_takes_little_memory(shared_server: RunningServer, item: bytes) -> None:
    """Eight mebibytes of tiny items are refused without an object for each of them."""
    before_kib = peak_memory_kib(shared_server)
    count = 8 * MIB // (len(item) + 1) - 1
    answer = shared_server.post(b"[" + (item + b",") * (count - 1) + item + b"]")

    assert 413 == answer.status_code
    assert peak_memory_kib(shared_server) - before_kib < 64 * KIB


def test_a_zstd_frame_cannot_ask_for_any_memory(shared_server: RunningServer) -> None:
    """A frame with a window above 8 MiB is refused before memory is taken for it."""
    compressor = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): 27})
    body = compressor.compress(SEED_MESSAGE, zstd.ZstdCompressor.FLUSH_BLOCK) + compressor.flush()
    answer = shared_server.post(body, Content_Encoding="zstd")

    assert 400 == answer.status_code


def peak_memory_kib(server: RunningServer) -> int:
    """The most memory the server's process ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
