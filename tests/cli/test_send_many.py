"""`heatfleet send` for many heaters, against the real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.client import Client
from tests.cli.conftest import Run
from tests.serving import RunningServer

ACCEPTED = 'heatfleet_commands_total{state="accepted"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that tests may share."""
    running = RunningServer(tmp_path_factory.mktemp("many"))
    yield running
    running.close()


def state(server: RunningServer, device_id: str) -> tuple[str, str]:
    """What the last line of the audit trail says of a device."""
    entry = server.client.get("/audit", params={"device_id": device_id}).json()["entries"][-1]
    return entry["detail"], entry["result"]


def test_several_heaters_on_one_line(server: RunningServer, run: Run) -> None:
    """The last word is what they all shall do."""
    sent = run("send", "a1", "a2", "a3", "off", "--url", server.base_url)

    assert (0, "sent 3 of 3 orders\n", "") == (sent.code, sent.out, sent.err)
    assert {("off", "published")} == {state(server, name) for name in ("a1", "a2", "a3")}


def test_orders_from_a_file(server: RunningServer, run: Run) -> None:
    """A line is a heater, or a heater and a switch; headings, comments and blank lines are passed over."""
    orders = '\ufeffdevice_id,switch\r\n# ground floor\r\n\r\nb1, on\r\n  \r\n"b2",off\r\nb3\r\n'
    Path("orders.csv").write_text(orders, encoding="utf-8", newline="")
    sent = run("send", "--file", "orders.csv", "off", "--url", server.base_url)

    assert (0, "sent 3 of 3 orders\n", "") == (sent.code, sent.out, sent.err)
    assert ["on", "off", "off"] == [state(server, name)[0] for name in ("b1", "b2", "b3")]


def test_a_fleet_goes_in_requests_of_a_thousand(server: RunningServer, run: Run) -> None:
    """However many there are, each is sent once, also when the whole is repeated with its key."""
    Path("ids").write_text("".join(f"c{number}\n" for number in range(2_345)))
    before = server.metric(ACCEPTED)
    first = run("send", "--file", "ids", "on", "--json", "--url", server.base_url)
    told = json.loads(first.out)
    key = told["idempotency_key"]
    again = run("send", "--file", "ids", "on", "--idempotency-key", key, "--json", "--url", server.base_url)

    assert (0, 2_345, 2_345, []) == (first.code, told["orders"], told["sent"], told["rejected"])
    assert [f"c{number}" for number in range(2_345)] == [command["device_id"] for command in told["commands"]]
    assert told == json.loads(again.out)
    assert key in first.err
    assert 2_345 == server.metric(ACCEPTED) - before


@pytest.mark.parametrize(
    ("content", "switch", "told"),
    [
        (b"d1,on\nd2\n", [], "line 2: write on or off"),
        (b"d1,on\nd2,perhaps\n", ["on"], "line 2: write on or off"),
        (b"d1,on,now\n", [], "line 1: write on or off"),
        (b"d1,on\n\n<script>,on\n", [], "line 3: a devId must be"),
        (b"d1\xff,on\n", [], "no text of lines"),
        (b"# nothing\n\n", ["on"], "there is no order in it"),
        (None, ["on"], "cannot be read: No such file"),
    ],
)
def test_a_file_with_a_slip(
    server: RunningServer, run: Run, content: bytes | None, switch: list[str], told: str
) -> None:
    """What is wrong is told by its line before anything is sent, and not repeated."""
    if content is not None:
        Path("orders.csv").write_bytes(content)
    before = server.metric(ACCEPTED)
    refused = run("send", "--file", "orders.csv", *switch, "--url", server.base_url, COLUMNS="200")

    assert (ExitCode.USAGE, "") == (refused.code, refused.out)
    assert told in refused.err
    assert "script" not in refused.err
    assert before == server.metric(ACCEPTED)


@pytest.mark.parametrize("words", [[], ["d1"], ["off"], ["d1", "d2"], ["d1", "off", "--file", "ids"], ["d1", "OFF"]])
def test_words_without_meaning(words: list[str], run: Run) -> None:
    """Heaters and a switch, or a file: anything else is a usage error."""
    assert ExitCode.USAGE == run("send", *words).code


def test_orders_that_the_server_does_not_take(server: RunningServer, run: Run) -> None:
    """They are named, the others are sent, and the exit code says that not all were; or that none was."""
    partly = run("send", "d1", "d 2", "d3", "on", "--url", server.base_url)
    nothing = run("send", "d 1", "d 2", "on", "--url", server.base_url)

    assert (ExitCode.PARTIAL, "sent 2 of 3 orders\n") == (partly.code, partly.out)
    assert "argument 2: device_id must be" in partly.err
    assert (ExitCode.FAILURE, "sent 0 of 2 orders\n") == (nothing.code, nothing.out)
    assert 2 == nothing.err.count("not sent: ")


def test_a_server_that_goes_away_in_the_midst(server: RunningServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is told, the exit code says to try again, and the key that is named sends the rest only."""
    Path("ids").write_text("".join(f"e{number}\n" for number in range(2_500)))
    naps: list[float] = []
    send_many = Client.send_many

    def killed_before_the_second(client: Client, orders: Any, *, idempotency_key: str) -> dict[str, Any]:
        if idempotency_key.endswith("-2") and not naps:
            server.kill()
        return send_many(client, orders, idempotency_key=idempotency_key)

    with monkeypatch.context() as patch:
        patch.setattr("heatfleet.cli.many_orders.time.sleep", naps.append)
        patch.setattr(Client, "send_many", killed_before_the_second)
        cut = run("send", "--file", "ids", "off", "--url", server.base_url)
    server.start()
    key = cut.err.split("--idempotency-key ")[-1].split()[0]
    rest = run("send", "--file", "ids", "off", "--idempotency-key", key, "--url", server.base_url)

    assert (ExitCode.TRY_AGAIN, "sent 1,000 of 2,500 orders\n") == (cut.code, cut.out)
    assert [1, 1, 1] == naps
    assert (0, "sent 2,500 of 2,500 orders\n") == (rest.code, rest.out)
    assert 1_500 == server.metric(ACCEPTED)
