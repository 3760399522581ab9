"""The client's errors, against servers that misbehave; what goes well is tested with the commands that use it."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from heatfleet.client import Client, server_url
from heatfleet.config import is_loopback
from heatfleet.errors import BadQuery, HeatfleetError, NotFound, Refused

Answering = Callable[..., Client]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Makes a client of a server that gives one answer to every request."""
    opened: list[tuple[ThreadingHTTPServer, Client]] = []

    def answering(status: int, body: object, **headers: str) -> Client:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        opened.append((server, Client(f"http://127.0.0.1:{server.server_port}")))
        return opened[-1][1]

    yield answering
    for server, client in opened:
        client.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::1", "http://[fd00::1]:8000"),
        ("heat.example", "http://heat.example:8000"),
    ],
)
def test_server_is_reached_where_it_listens(host: str, url: str) -> None:
    """Also when it listens everywhere, or on IPv6."""
    assert server_url(host, 8000) == url


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_this_machine_alone(host: str) -> None:
    """Nobody else can reach it."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "heat.example"])
def test_other_addresses_are_not(host: str) -> None:
    """They can be reached from outside, or name another machine."""
    assert not is_loopback(host)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://[::", "nonsense"])
def test_url_that_is_none(url: str) -> None:
    """It says what one looks like."""
    with pytest.raises(BadQuery, match="the address of a server looks like"):
        Client(url)


def test_nobody_listens() -> None:
    """The error says how to start a server, and that trying again is worth it."""
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(Refused, match="start it with `make run`"),
    ):
        client.ready()


def test_not_now_keeps_the_time_to_wait(answering: Answering) -> None:
    """503 with Retry-After."""
    client = answering(503, {"detail": "the queue is full"}, Retry_After="7")
    with pytest.raises(Refused, match="the queue is full") as raised:
        client.report({})

    assert raised.value.retry_after_s == 7


def test_not_ready_tells_the_reasons(answering: Answering) -> None:
    """The answer of /readyz is no problem document."""
    client = answering(503, {"status": "unavailable", "reasons": ["the disk is full", "no writer"]})
    with pytest.raises(Refused, match="the disk is full; no writer"):
        client.ready()


def test_not_found(answering: Answering) -> None:
    """404 with a problem document."""
    client = answering(404, {"type": "/problems/not-found", "detail": "no such order"})
    with pytest.raises(NotFound, match="no such order"):
        client.command("/commands/x")


def test_bad_parameter_is_named(answering: Answering) -> None:
    """Also when the detail does not name it."""
    client = answering(422, {"title": "No", "detail": "must be a date", "parameter": "from"})
    with pytest.raises(BadQuery, match=r"^from: must be a date$"):
        client.report({})


def test_csv_is_refused_like_json(answering: Answering) -> None:
    """A stream's refusal is read before it is raised."""
    client = answering(422, {"detail": "tz must be a zone", "parameter": "tz"})
    with pytest.raises(BadQuery, match=r"^tz must be a zone$"):
        list(client.report_csv({}))


@pytest.mark.parametrize("body", ["<html>", [1], "", {"detail": None}])
def test_refusal_of_another_program(body: object, answering: Answering) -> None:
    """Whatever answers, the status is told and no traceback is seen."""
    client = answering(502, body)
    with pytest.raises(HeatfleetError, match="the server answered 502 Bad Gateway; see the server's log"):
        client.report({})


@pytest.mark.parametrize("body", ["<html>", "[]", ""])
def test_answer_of_another_program(body: str, answering: Answering) -> None:
    """A page is no report."""
    client = answering(200, body)
    with pytest.raises(HeatfleetError, match="is not Heatfleet's"):
        client.report({})
