"""Requests to POST /message whose bodies are good messages, damaged at random: a seed gives the same ones again."""

import gzip
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from tests.door.wire import NDJSON, request
from tests.serving import message, ndjson

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_TIME_MS = 1_732_631_573_782
_ODD = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999", b"-0", b"9223372036854775808", b"1" * 500),
    *(b"true", b"null", b'""', b"[]", b"{}", b"[[[[]]]]", b"[" * 100, b"[" * 50 + b"]" * 50, b'{"a":' * 100),
    *(
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xe2\x80\xa8"',
        b'"\\x"',
        b'"\x01"',
    ),
    *(b"\xef\xbb\xbf", b"\0", b"\r", b"\n", b"//", b"/*", b",", b":", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(b'"1000"', b"1.5", b"-1", b"1e5", b"0x10", b"01", b'"devId"', b'"devId":"x",', b'"value":1,"value":2,'),
]
_VALUES: list[object] = [
    0,
    -1,
    1e308,
    2**63,
    10**40,
    True,
    None,
    "",
    "x" * 65,
    "\0",
    "\u2028",
    "é😀",
    [],
    {},
    [[1]],
    {"a": 1},
]


class Fuzz:
    """Endless requests by one seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[bytes]:
        """Request after request, each whole, and each with an answer of its own."""
        while True:
            yield self._request()

    def _request(self) -> bytes:
        dice = self._dice
        match dice.choice(["single", "single", "array", "lines"]):
            case "single":
                body, kind = json.dumps(self._message()).encode(), "application/json"
            case "array":
                body, kind = (
                    json.dumps([self._message() for _ in range(dice.randrange(5))]).encode(),
                    "application/json",
                )
            case _:
                body, kind = ndjson(*(self._message() for _ in range(dice.randrange(5)))), NDJSON
        for _ in range(dice.choice([0, 1, 1, 2, 5])):
            body = self._damaged(body)
        encoding = dice.choice(["", "", "", "", "gzip", "zstd"])
        if encoding:
            body = gzip.compress(body, 1) if encoding == "gzip" else zstd.compress(body)
            if dice.random() < 0.3:
                body = self._damaged(body)
        elif dice.random() < 0.01:
            body += b" " * 70_000  # large enough for a decoder
        return request(body, kind=kind, Content_Encoding=encoding)

    def _message(self) -> dict[str, Any]:
        """A good message, in which any part may be something else."""
        dice = self._dice
        told = [
            {"code": dice.choice(["instant_power", "temp_interior", "mode"]), "time": _TIME_MS + number, "value": 20}
            for number in range(dice.randrange(4))
        ]
        one = message(f"d{dice.randrange(50)}", *told, ts=_TIME_MS)
        places: list[dict[str, Any]] = [one, one["bizData"], *one["bizData"]["properties"]]
        if dice.random() < 0.5:
            place = dice.choice(places)
            name = dice.choice([*place, "other"])
            if dice.random() < 0.2:
                place.pop(name, None)
            else:
                place[name] = dice.choice(_VALUES)
        return one

    def _damaged(self, body: bytes) -> bytes:
        dice = self._dice
        start = dice.randrange(len(body) + 1)
        end = min(len(body), start + dice.choice([0, 1, 1, 2, 8, 64]))
        match dice.choice(["flip", "odd", "odd", "cut", "repeat", "end", "noise"]):
            case "flip" if start < len(body):
                return body[:start] + bytes([body[start] ^ 1 << dice.randrange(8)]) + body[start + 1 :]
            case "odd":
                return body[:start] + dice.choice(_ODD) + body[end:]
            case "cut":
                return body[:start] + body[end:]
            case "repeat":
                return body[:end] + body[start:end] * dice.choice([1, 2, 100]) + body[end:]
            case "end":
                return body[:start]
            case _:
                return body[:start] + dice.randbytes(dice.choice([1, 4, 40])) + body[end:]
