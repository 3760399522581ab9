"""No two readings of one stream: whatever could be cut in two ways is refused, and nothing behind it is served."""

import pytest

from tests.door.wire import Wire, chunked, readings, request
from tests.serving import SEED_MESSAGE, RunningServer

BODY = readings(1)
HIDDEN = request(readings(9))
CHUNKED = request(None, kind="", Transfer_Encoding="chunked")

AMBIGUOUS = {
    "CL and TE": request(b"", Content_Length="5", Transfer_Encoding="chunked") + b"0\r\n\r\n",
    "TE and CL": CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two CL, equal": request(BODY)[:-1].replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(BODY), 1),
    "two CL, not equal": request(BODY).replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n", 1),
    "CL of two": request(b"", Content_Length="5, 5"),
    "CL with a sign": request(b"", Content_Length="+5"),
    "CL below zero": request(b"", Content_Length="-5"),
    "CL in hexadecimal": request(b"", Content_Length="0x5"),
    "CL with a point": request(b"", Content_Length="5.0"),
    "CL above 64 bits": request(b"", Content_Length="9" * 30),
    "CL without digits": request(b"", Content_Length="five"),
    "space before the colon": request(BODY).replace(b"Content-Length:", b"Content-Length :"),
    "TE of something else": request(None, Transfer_Encoding="xchunked") + chunked(BODY),
    "TE chunked twice": request(None, Transfer_Encoding="chunked, chunked") + chunked(BODY),
    "TE not chunked last": request(None, Transfer_Encoding="chunked, gzip") + chunked(BODY),
    "TE identity": request(None, Transfer_Encoding="identity") + BODY,
    "TE with a vertical tab": request(None, Transfer_Encoding="\x0bchunked") + chunked(BODY),
    "TE in quotes": request(None, Transfer_Encoding='"chunked"') + chunked(BODY),
    "TE with a parameter": request(None, Transfer_Encoding="chunked;a=b") + chunked(BODY),
    "TE with a comma before it": request(None, Transfer_Encoding=", chunked") + chunked(BODY),
    "two TE, equal": request(None, Transfer_Encoding="chunked", transfer_encoding="chunked") + chunked(BODY),
    "TE gzip, chunked": request(None, Transfer_Encoding="gzip, chunked") + chunked(BODY),
    "two TE, of which one is something else": request(None, Transfer_Encoding="x", transfer_encoding="chunked")
    + chunked(BODY),
    "CL in the second place, with TE of something else": request(BODY, Transfer_Encoding="x"),
    "space before the colon of TE": CHUNKED.replace(b"Encoding:", b"Encoding :") + chunked(BODY),
    "TE folded": CHUNKED.replace(b"Encoding: ", b"Encoding:\r\n ") + chunked(BODY),
    "CL folded": request(BODY).replace(b"Length: ", b"Length:\r\n "),
    "CL of nothing": request(BODY).replace(b"Length: %d" % len(BODY), b"Length:"),
    "CL with a space within": request(b"", Content_Length="1 0"),
    "bare LF": request(BODY).replace(b"\r\n", b"\n"),
    "bare LF after a field": request(BODY).replace(b"Host: localhost\r\n", b"Host: x\n"),
    "bare CR in a field": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\rA: b\r\n"),
    "folded field": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\r\nA: b\r\n c\r\n"),
    "NUL in a field": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\r\nA: \0\r\n"),
    "NUL in a name": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\r\nA\0: b\r\n"),
    "LF in a chunk extension": CHUNKED + b"5;a\nb\r\nabcde\r\n0\r\n\r\n",
    "chunk size with a sign": CHUNKED + b"+5\r\nabcde\r\n0\r\n\r\n",
    "chunk size in 0x": CHUNKED + b"0x5\r\nabcde\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"5\r\nabcdeX\r\n0\r\n\r\n",
    "chunk of LF alone": CHUNKED + b"5\nabcde\r\n0\r\n\r\n",
    "chunk ended by LF alone": CHUNKED + b"5\r\nabcde\n0\r\n\r\n",
    "chunk size of nothing": CHUNKED + b"\r\nabcde\r\n0\r\n\r\n",
    "chunk size with a space before it": CHUNKED + b" 5\r\nabcde\r\n0\r\n\r\n",
    "chunk size below zero": CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n",
    "last chunk and LF alone": CHUNKED + b"0\n\n",
    "trailer with a bare LF": CHUNKED + b"0\r\nA: b\n\r\n",
    "request line folded": b"POST /message\r\n HTTP/1.1\r\n" + request(BODY).partition(b"\r\n")[2],
    "space at the front of a field": request(BODY).replace(b"Host: localhost\r\n", b" Host: localhost\r\n"),
    "a field without a colon": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\r\nA\r\n"),
    "a field without a name": request(BODY).replace(b"Host: localhost\r\n", b"Host: localhost\r\n: a\r\n"),
    "chunk size above 64 bits": CHUNKED + b"f" * 30 + b"\r\nabcde\r\n0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": request(BODY, version="9.9"),
    "lower case": request(BODY).replace(b"POST ", b"post "),
}
HOSTS = {
    "no host": request(BODY, Host=""),
    "no host, GET": request(method="GET", path="/livez", Host=""),
    "two hosts": request(BODY, host="x"),
    "two equal hosts, GET": request(method="GET", path="/livez", host="x"),
    "a path": request(BODY, Host="a/b?c"),
    "a user": request(BODY, Host="x@evil"),
    "two names": request(BODY, Host="a, b"),
    "a bad port": request(BODY, Host="x:y"),
    "no name": request(method="GET", path="/livez", Host=":80"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_requests_are_refused(door: RunningServer, name: str) -> None:
    """One 400, then the connection is closed; the request behind it is never served."""
    readings_before = door.metric("heatfleet_readings_total")
    with Wire(door) as wire:
        wire.send(AMBIGUOUS[name] + HIDDEN)
        answer = wire.answer()

        assert 400 == answer.status
        assert b"/problems/malformed-request" in answer.body
        assert ("connection", "close") in answer.fields
        assert wire.is_closed()
    assert readings_before == door.metric("heatfleet_readings_total")


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_must_be_one(door: RunningServer, name: str) -> None:
    """None, two, or something that is no host: 400 and closed."""
    with Wire(door) as wire:
        wire.send(HOSTS[name] + HIDDEN)
        answer = wire.answer()

        assert 400 == answer.status
        assert b"/problems/bad-host" in answer.body
        assert wire.is_closed()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_hosts_that_are_taken(door: RunningServer, host: str) -> None:
    """A name or an address of this machine, with or without a port."""
    with Wire(door) as wire:
        wire.send(request(SEED_MESSAGE, Host=host) + request(method="GET", path="/report", Host=host))

        assert [200, 200] == [answer.status for answer in wire.answers(2)]


@pytest.mark.parametrize(
    "host", ["x", "heat.example", "localhost.heat.example", "127.0.0.2", "[::2]:8000", "X-y_z.9:1"]
)
def test_foreign_hosts(door: RunningServer, host: str) -> None:
    """A stranger's name that leads here (DNS rebinding) opens nothing but the answers to everybody."""
    paths = [request(method="GET", path=path, Host=host) for path in ("/report", "/livez")]
    with Wire(door) as wire:
        wire.send(request(SEED_MESSAGE, Host=host), *paths)

        assert [421, 421, 200] == [answer.status for answer in wire.answers(3)]


def test_a_trailer_is_no_header(door: RunningServer) -> None:
    """What follows a chunked body cannot change the request it belongs to, or the next one."""
    with Wire(door) as wire:
        wire.send(CHUNKED + chunked(BODY)[:-2] + b"Content-Type: text/plain\r\nHost: y\r\n\r\n" + request(BODY))

        assert [1, 1] == [answer.inserted for answer in wire.answers(2)]
