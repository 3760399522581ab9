"""The server's process: how it starts, leaves, and writes its log."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import RunningServer, message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_told_server_leaves_in_order(server: RunningServer, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with code 0, a last line in the log, and no traceback."""
    server.post(message())

    assert 0 == server.stop(number)
    assert ["listening", "stopped"] == [line["event"] for line in server.log()]


def test_nothing_is_logged_for_a_message(server: RunningServer) -> None:
    """Good, bad and malformed requests leave no line in the log."""
    for content in (message(), message("d 1"), b"{", [message(), {}]):
        server.post(content)
    server.client.get("/nothing")
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        connection.recv(1000)

    assert ["listening"] == [line["event"] for line in server.log()]


def test_an_open_stream_does_not_keep_the_server(server: RunningServer) -> None:
    """Listeners are told to end, so that the server leaves at once and not after its grace."""
    with server.client.stream("GET", "/commands/stream", params={"device_id": "d1"}) as stream:
        assert 200 == stream.status_code
        assert 0 == server.stop()


def test_a_second_signal_ends_it_at_once(server: RunningServer) -> None:
    """Who asks twice does not wait for requests under way."""
    server.expect_errors = True
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /message HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert server.client.get("/livez").is_success
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two signals that are pending at once may be told in any order
        assert 143 == server.stop()


def test_a_port_in_use_is_one_clear_line(server: RunningServer, tmp_path: Path) -> None:
    """A second server on the same port does not start, and says which setting to change."""
    second = subprocess.run(
        [sys.executable, "-m", "heatfleet", "serve", "--port", str(server.port)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert 78 == second.returncode
    assert 1 == len(second.stderr.splitlines())
    assert "HEATFLEET_PORT" in second.stderr
    assert "in use" in second.stderr


def test_a_store_has_one_server(server: RunningServer, start_server: Callable[..., RunningServer]) -> None:
    """A second server on the same store does not start; the first one is not disturbed."""
    with pytest.raises(AssertionError, match="already writes"):
        start_server(store=server.store_url)

    assert 200 == server.post(message()).status_code


def test_logs_are_for_people_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal the log is plain lines, elsewhere JSON; a traceback never shows what variables held."""
    script = (
        "from heatfleet.config import Settings\nfrom heatfleet.logs import configure_logging\nimport structlog\n"
        "configure_logging(Settings())\nlog = structlog.get_logger('x')\nlog.warning('hello', text='a\\nb')\n"
        "try:\n    secret = 'hun' + 'ter2'\n    1 / 0\nexcept Exception as error:\n    log.error('bad', exc_info=error)"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=theirs, cwd=tmp_path, check=True)
    on_terminal = os.read(ours, 65_536)
    elsewhere = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, cwd=tmp_path, check=True).stderr
    os.close(ours)
    os.close(theirs)

    assert b"hello" in on_terminal
    assert not on_terminal.startswith(b"{")
    assert elsewhere.startswith(b'{"')
    assert 2 == elsewhere.count(b"\n")
    assert b"ZeroDivisionError" in on_terminal
    assert b"ZeroDivisionError" in elsewhere
    assert b"hunter2" not in on_terminal + elsewhere
