"""What callers send is theirs: no answer, log or metric repeats it, and it cannot write a log line of its own."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.door.wire import NDJSON, Wire, request
from tests.serving import RunningServer, message

CANARY = "canary4d2f7b"
UNSAFE = "\r\n\x1b[31m\x7f\x9b\u2028"
"""What would begin a new line somewhere, or colour the rest of a terminal."""
SECRETS: dict[str, Any] = {
    "Authorization": f"Bearer {CANARY}",
    "Cookie": f"a={CANARY}",
    "X-Secret": CANARY,
    "Referer": f"http://{CANARY}/",
}


def with_field(body: bytes, name: str, value: str) -> bytes:
    """A request with one field more."""
    return request(body).replace(b"Host: x\r\n", f"Host: x\r\n{name}: {value}\r\n".encode(), 1)


def bodies() -> Iterator[object]:
    """Messages that are wrong in each of their parts, with the canary there."""
    for odd in (f"{CANARY} {UNSAFE}", [CANARY], {CANARY: CANARY}):
        yield odd
        for field in ("bizCode", "bizData", "ts"):
            yield {**message(), field: odd}
        for field in ("devId", "productId", "properties"):
            yield {**message(), "bizData": {**message()["bizData"], field: odd}}
        for field in ("code", "time", "value"):
            yield message("d1", {"code": "instant_power", "time": 1_732_631_573_782, "value": 1} | {field: odd})
        yield {"device_id": odd, "switch": True}
        yield {"device_id": "d1", "switch": odd}


def requests() -> Iterator[bytes]:
    """The canary in every place of a request, on every route that takes something."""
    for one in bodies():
        text = json.dumps(one).encode()
        raw = json.dumps(one, ensure_ascii=False).encode()
        for body in (text, raw, text[:-1], b"[" + text + b"]"):
            yield request(body, **SECRETS)
            yield request(body, path="/send", **SECRETS)
        yield request(text + b"\n" + text, kind=NDJSON, **SECRETS)
        yield request(gzip.compress(text), Content_Encoding="gzip", **SECRETS)
    odd = f"{CANARY}%0d%0a%1b%5b31m%e2%80%a8"
    for path in ("/report", "/report/power", "/devices", "/commands/stream", "/message", "/problems"):
        for name in ("from", "tz", "device_id", "product_id", "after", "limit", "state", "metric"):
            yield request(method="GET", path=f"{path}?{name}={odd}", **SECRETS)
    for path in (f"/{odd}", f"/devices/{odd}", f"/commands/{odd}", f"/problems/{odd}", "/livez", "/nothing"):
        for method in ("GET", "POST", "DELETE"):
            yield request(method=method, path=path, Content_Length="0", **SECRETS)
    yield request(b"{}", path="/send", Idempotency_Key=f"{CANARY} x")
    yield request(method="GET", path="/commands/stream?device_id=d1", Last_Event_ID=CANARY)
    for field in ("Content-Type", "Content-Encoding", "Accept", "If-None-Match", "Expect"):
        yield with_field(b"{}", field, CANARY)


def last_requests() -> Iterator[bytes]:
    """Those after which the connection is closed."""
    yield request(b"{}", Host=f"{CANARY} x")
    yield request(b"{}", Content_Length=CANARY)
    yield request(b"{}", Transfer_Encoding=CANARY)
    yield f"{CANARY} /{CANARY} HTTP/1.1\r\n\r\n".encode()
    yield with_field(b"{}", CANARY, "x\x01")
    yield request(b"{}", Cookie=CANARY * 2000)
    yield request(method="GET", path="/livez", Upgrade=CANARY, Connection="upgrade")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_that_is_sent_is_repeated(start_server: Callable[..., RunningServer], log_format: str) -> None:
    """A secret in any header, field, parameter or path is in no answer, no metric and no log; nor is a line of it."""
    server = start_server(log_format=log_format)
    with Wire(server) as wire:
        told = [(data, wire.send(data).answer()) for data in requests()]
    for data in last_requests():
        with Wire(server) as wire:
            told.append((data, wire.send(data).answer()))
    metrics = server.client.get("/metrics").text
    server.stop()
    log = server.log_path.read_text(encoding="utf-8")
    server.log_path.write_text("")  # it is not JSON in both cases, and was looked at here

    assert not [(data, answer) for data, answer in told if CANARY in str(answer)]
    assert not [(data, answer) for data, answer in told if answer.status >= 500]
    assert CANARY not in metrics
    assert CANARY not in log
    assert 2 == log.count("\n")
    assert ["listening", "stopped"] == re.findall("listening|stopped", log)


class EvilDisk(RunningServer):
    """A server whose disk answers with words that came from somebody else."""

    script = f"""
from heatfleet.storage.sqlite.journal import JournalWriter
def append(*_):
    raise RuntimeError({"forged" + UNSAFE + "2026-01-01 [error] forged"!r})
JournalWriter.append = append
{RunningServer.script}"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_can_be_forged(tmp_path: Path, log_format: str) -> None:
    """Whatever an exception says, nobody's words begin a line of the log or reach the terminal unescaped."""
    server = EvilDisk(tmp_path, log_format=log_format)
    assert 503 == server.post(message()).status_code
    server.stop()
    log = server.log_path.read_bytes().decode()
    server.log_path.write_text("")
    server.close()

    assert "forged" in log
    assert not [one for one in "\r\x1b\x7f\x9b\u2028" if one in re.sub(r"\x1b\[[0-9;]*m", "", log)]
    assert "\x1b[31m\x7f" not in log
    assert not [line for line in log.split("\n") if line.startswith("2026-01-01")]
    if log_format == "json":
        assert ["listening", "readings cannot be stored", "stopped"] == [
            json.loads(line)["event"] for line in log.splitlines()
        ]
