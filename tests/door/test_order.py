"""Answers come in the order of the requests, whatever the mixture and wherever the stream is cut."""

import gzip
import json
import random

import pytest

from tests.door.wire import NDJSON, Wire, chunked, cut, readings, request
from tests.serving import RunningServer, message, ndjson

SEQUENCES = 420
IN_ONE_TEST = 60

Expected = tuple[int, int | None]


def a_request(chance: random.Random) -> tuple[bytes, Expected]:
    """A request of a random kind, and its status with the number that tells it from its neighbours."""
    count = chance.randrange(40)
    body = readings(count)
    chunks = chunked(body, chance.choice((7, 100, 5000)))
    plain = (request(body), (200, count))
    kinds: list[tuple[bytes, Expected]] = [
        (request(json.dumps(message("d 1")).encode()), (422, None)),
        (request(body[:-1]), (400, None)),
        (request(None, kind="", Transfer_Encoding="chunked") + chunks, (200, count)),
        (request(gzip.compress(body), Content_Encoding="gzip"), (200, count)),
        (request(body + b" " * 70_000), (200, count)),
        (request(ndjson(*[message("d1")] * count), kind=NDJSON), (200, count)),
        (request(method="GET", path="/livez"), (200, None)),
        (request(method="GET", path="/nothing"), (404, None)),
        (request(body, X_Request_Id=str(chance.random())), (200, count)),
        *[plain] * 4,
    ]
    return chance.choice(kinds)


@pytest.mark.parametrize("first", range(0, SEQUENCES, IN_ONE_TEST))
def test_random_sequences(door: RunningServer, first: int) -> None:
    """Each request of a random sequence, sent in random pieces, gets its own answer."""
    for seed in range(first, first + IN_ONE_TEST):
        chance = random.Random(seed)
        chosen = [a_request(chance) for _ in range(chance.randrange(1, 14))]
        data = b"".join(one for one, _ in chosen)
        places = [chance.randrange(len(data)) for _ in range(chance.choice((0, 1, 3, 20)))]
        with Wire(door) as wire:
            wire.send(*cut(data, places))
            got = [(answer.status, answer.inserted) for answer in wire.answers(len(chosen))]

        assert [expected for _, expected in chosen] == got, f"seed {seed}"


@pytest.mark.parametrize("before", ["plain", "route", "both"])
@pytest.mark.parametrize(
    "after", [b"nonsense\r\n\r\n", b"POST /message HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n"]
)
def test_what_is_no_request_is_refused_in_its_turn(door: RunningServer, before: str, after: bytes) -> None:
    """A malformed request does not come before the answers to those that were sent earlier; nothing follows it."""
    route = request(method="GET", path="/nothing")
    earlier = {"plain": [request(readings(3))] * 5, "route": [route] * 5, "both": [request(readings(3)), route] * 3}
    with Wire(door) as wire:
        wire.send(b"".join(earlier[before]) + after + request(readings(1)))
        got = [answer.status for answer in wire.answers(len(earlier[before]) + 1)]

        assert [404 if one is route else 200 for one in earlier[before]] + [400] == got
        assert wire.is_closed()


def test_a_malformed_body_is_answered_once(door: RunningServer) -> None:
    """A body that breaks while its route reads it gives 400 in its place, not an answer of the route too."""
    broken = request(None, kind="", Transfer_Encoding="chunked") + b"5\r\nabcde\r\nnonsense\r\n"
    for pieces in ([broken], [broken[:-12], broken[-12:]], [request(method="GET", path="/nothing") + broken]):
        with Wire(door) as wire:
            wire.send(*pieces)
            if len(pieces[0]) > len(broken):
                assert 404 == wire.answer().status

            assert 400 == wire.answer().status
            assert wire.is_closed()
