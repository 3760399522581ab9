"""The door and the ASGI route give the same answers, byte for byte but for the date."""

import gzip
import json
import random

import pytest

from heatfleet.api.door.heads import judge
from heatfleet.api.gate import Gate
from tests.door.wire import NDJSON, Answer, Wire, chunked, cut, readings, request
from tests.serving import SEED_MESSAGE, RunningServer, message, ndjson

POWER = {"code": "instant_power", "time": 1_732_631_573_782, "value": 1000}


def as_json(content: object) -> bytes:
    return json.dumps(content).encode()


PLAIN = {
    "seed": request(SEED_MESSAGE),
    "three readings": request(readings(3)),
    "no readings": request(readings(0)),
    "no type": request(SEED_MESSAGE, kind=""),
    "a charset": request(SEED_MESSAGE, kind="application/json; charset=utf-8"),
    "keep-alive": request(SEED_MESSAGE, Connection="Keep-Alive"),
    "other fields": request(SEED_MESSAGE, User_Agent="x/1", Accept="*/*", X_Request_Id="7"),
    "64 KiB": request(SEED_MESSAGE + b" " * (65536 - len(SEED_MESSAGE))),
    "empty": request(b""),
    "cut short": request(SEED_MESSAGE[:-9]),
    "broken": request(b"{nonsense}"),
    "not UTF-8": request(b'"\xff"'),
    "deep": request(b"[" * 60_000),
    "foreign": request(as_json(message() | {"bizCode": "deviceOnline"})),
    "bad id": request(as_json(message("d 1"))),
    "bad value": request(as_json(message("d1", POWER | {"value": True}))),
    "bad time": request(as_json(message("d1", POWER | {"time": 5}))),
    "bad field": request(as_json(message("d1", {"value": 5}))),
    "array": request(as_json([message("d1"), message("d2")])),
    "empty array": request(b" [ ] "),
    "broken array": request(b"[1,"),
    "partly bad array": request(as_json([message("d1"), 7, message("d 2")])),
    "all bad array": request(as_json([7, message("d 2")])),
    "lines": request(ndjson(message("d1"), message("d2")), kind=NDJSON),
    "partly bad lines": request(ndjson(message("d1"), message("d 2")) + b"\n{", kind=NDJSON),
    "no lines": request(b"\n\n", kind=NDJSON),
    "too many lines": request(b"1\n" * 10_001, kind=NDJSON),
    "above 64 KiB": request(SEED_MESSAGE + b" " * 65536),
    "long lines": request(ndjson(*[message("d1")] * 1000), kind=NDJSON),
    "above 256 KiB": request(SEED_MESSAGE + b" " * 2**18),
    "long array": request(as_json([message("d1")] * 1000)),
    "long lines, partly bad": request(ndjson(*[message("d1"), message("d 2")] * 500), kind=NDJSON),
    "long lines, all bad": request(b"1\n" * 40_000, kind=NDJSON),
    "long broken array": request(b"[" + b" " * 2**17),
    "8 MiB": request(SEED_MESSAGE + b"\n" * (2**23 - len(SEED_MESSAGE)), kind=NDJSON),
}
NOT_PLAIN = {
    "form": request(SEED_MESSAGE, kind="application/x-www-form-urlencoded"),
    "latin": request(SEED_MESSAGE, kind="application/json; charset=latin-1"),
    "two types": request(SEED_MESSAGE, kind="application/json", content_type="application/json"),
    "query": request(SEED_MESSAGE, path="/message?x=1"),
    "absolute": request(SEED_MESSAGE, path="http://x/message"),
    "GET": request(method="GET"),
    "PUT": request(SEED_MESSAGE, method="PUT"),
    "no body": request(None),
    "gzip": request(gzip.compress(SEED_MESSAGE), Content_Encoding="gzip"),
    "broken gzip": request(SEED_MESSAGE, Content_Encoding="gzip"),
    "br": request(SEED_MESSAGE, Content_Encoding="br"),
    "chunked": request(None, kind="", Transfer_Encoding="chunked") + chunked(SEED_MESSAGE),
    "chunked, bad": request(None, kind="", Transfer_Encoding="chunked") + chunked(b"[1,"),
    "chunked, trailer": request(None, Transfer_Encoding="chunked") + chunked(SEED_MESSAGE)[:-2] + b"Host: y\r\n\r\n",
    "long head": request(SEED_MESSAGE, Cookie="x" * 3000),
    "not found": request(method="GET", path="/nothing"),
    "report": request(method="GET", path="/report?date=x"),
    "line breaks first": b"\r\n\r\n" + request(SEED_MESSAGE),
}
LAST = {
    "close": request(SEED_MESSAGE, Connection="close"),
    "close, bad": request(b"{", Connection="close"),
    "HTTP/1.0": request(SEED_MESSAGE, version="1.0"),
    "HTTP/1.0, no host": request(SEED_MESSAGE, version="1.0", Host=""),
}
# Answered by the head alone; the rest of the body would be read and thrown away.
EARLY = {
    "length too large": request(SEED_MESSAGE, Content_Length="100000000"),
    "length above all": request(SEED_MESSAGE, Content_Length=str(10**19)),
}
ALL = PLAIN | NOT_PLAIN


def without_date(answer: Answer) -> Answer:
    assert "date" in dict(answer.fields)
    return answer._replace(fields=[field for field in answer.fields if field[0] != "date"])


def asked(server: RunningServer, data: bytes) -> Answer:
    with Wire(server) as wire:
        return without_date(wire.send(data).answer())


def test_which_requests_are_plain(gate: Gate) -> None:
    """The first list is what the door answers itself; so these tests compare two ways, not one with itself."""
    heads = {name: data[: data.index(b"\r\n\r\n", 4) + 4] for name, data in (PLAIN | NOT_PLAIN | LAST).items()}
    plain = {name for name, head in heads.items() if judge(head, gate) is not None and len(head) <= 2048}

    assert PLAIN.keys() == plain


@pytest.mark.parametrize("name", ALL | EARLY)
def test_the_same_answer_both_ways(door: RunningServer, plain: RunningServer, name: str) -> None:
    """Status, fields, their order and the body are equal."""
    data = (ALL | EARLY)[name]

    assert asked(plain, data) == asked(door, data)


@pytest.mark.parametrize("name", LAST)
def test_the_same_last_answer_both_ways(door: RunningServer, plain: RunningServer, name: str) -> None:
    """A request that ends its connection is answered alike, and the connection closed."""
    for server in (plain, door):
        with Wire(server) as wire:
            wire.send(LAST[name])

            assert asked(plain, LAST[name]) == without_date(wire.answer())
            assert wire.is_closed()


@pytest.mark.parametrize("seed", range(3))
def test_all_on_one_connection(door: RunningServer, plain: RunningServer, seed: int) -> None:
    """All of them in any order, in one go, get the answers they get alone."""
    names = random.Random(seed).sample(sorted(ALL), len(ALL))
    with Wire(door) as wire:
        wire.send(b"".join(ALL[name] for name in names))
        got = {name: without_date(wire.answer()) for name in names}

    assert {name: asked(plain, ALL[name]) for name in names} == got


@pytest.mark.parametrize("name", ["seed", "bad id", "partly bad lines", "chunked", "gzip", "not found"])
def test_byte_by_byte(door: RunningServer, name: str) -> None:
    """Bytes that come one at a time make the same request."""
    data = ALL[name]
    with Wire(door) as wire:
        wire.send(*cut(data, range(1, len(data))))

        assert asked(door, data) == without_date(wire.answer())


def test_who_expects_to_be_asked_is_asked(door: RunningServer) -> None:
    """Expect: 100-continue is answered before the body comes."""
    data = request(SEED_MESSAGE, Expect="100-continue")
    with Wire(door) as wire:
        wire.send(data.removesuffix(SEED_MESSAGE))

        assert 100 == wire.answer().status

        wire.send(SEED_MESSAGE)

        assert 1 == wire.answer().inserted


def test_a_wish_to_upgrade_ends_the_connection(door: RunningServer) -> None:
    """The parser drops what follows it; so nothing after it may wait for an answer."""
    with Wire(door) as wire:
        wire.send(request(method="GET", path="/livez", Connection="upgrade", Upgrade="h2c") + ALL["seed"])

        assert 200 == wire.answer().status
        assert wire.is_closed()


def test_both_ways_count_alike(door: RunningServer, plain: RunningServer) -> None:
    """Each answer is counted, by route and status, and so are messages, readings and what was refused."""
    names = [
        "heatfleet_messages_total",
        "heatfleet_readings_total",
        "heatfleet_properties_dropped_total",
        'heatfleet_rejected_total{reason="bad-id"}',
        'heatfleet_rejected_total{reason="broken-json"}',
        *(f'heatfleet_http_answers_total{{route="/message",status="{status}"}}' for status in (200, 400, 413, 422)),
    ]
    grown = []
    for server in (door, plain):
        before = [server.metric(name) for name in names]
        for data in PLAIN.values():
            asked(server, data)
        grown.append([server.metric(name) - was for name, was in zip(names, before, strict=True)])

    assert grown[0] == grown[1]
    assert all(grown[0])
