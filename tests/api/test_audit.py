"""GET /audit: who did what, over HTTP, against the real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from heatfleet.api.app import create_app
from heatfleet.config import Settings
from heatfleet.domain.access import Actor, AuditEntry
from tests.serving import RunningServer

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
HERE = {"actor": "local", "address": "testclient"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API in this process, one order a minute since NOW_MS, then a key that was made; its clock is at the end."""
    now_ms = [NOW_MS]
    settings = Settings(store=f"sqlite:///{tmp_path_factory.mktemp('audit')}/heatfleet.db")
    with TestClient(create_app(settings, clock=lambda: now_ms[0]), base_url="http://localhost") as opened:
        for number in range(10):
            opened.post("/send", json={"device_id": f"d{number % 2}", "switch": number < 5})
            now_ms[0] += 60_000
        made = AuditEntry(now_ms[0], Actor("cli", "root"), "key-create", "4fGh71Qa", "ingest", "done")
        opened.app_state["services"].ledger.note(made)
        yield opened


def entries(client: TestClient, **asked: str | int) -> list[dict[str, Any]]:
    """The lines of one page."""
    answer = client.get("/audit", params=asked)
    assert 200 == answer.status_code, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def numbers(client: TestClient, **asked: str | int) -> list[int]:
    """Their numbers."""
    return [entry["entry"] for entry in entries(client, **asked)]


def test_who_ordered_what_when_from_where_with_which_result(client: TestClient) -> None:
    """Each order is a line, with the state it has now and the way to all that is known of it."""
    first, *_, last, made = entries(client)

    assert (
        HERE
        | {
            "entry": 1,
            "at": "2026-01-10T18:00:00.000Z",
            "action": "order",
            "subject": "d0",
            "detail": "on",
            "result": "superseded",
            "command_id": first["command_id"],
        }
        == first
    )
    assert ("d1", "off", "published") == (last["subject"], last["detail"], last["result"])
    assert "d1" == client.get(f"/commands/{last['command_id']}").json()["device_id"]
    assert ("cli", "root", "key-create", "4fGh71Qa", "done", None) == tuple(
        made[name] for name in ("actor", "address", "action", "subject", "result", "command_id")
    )


def test_a_part_of_the_trail(client: TestClient) -> None:
    """Of a time, a device, a key, or who acted."""
    assert [3, 4, 5] == numbers(client, since="2026-01-10T18:02:00Z", until="2026-01-10T18:05")
    assert list(range(1, 12)) == numbers(client, since="2026-01-10", until="2026-01-11")
    assert [3, 4] == numbers(client, since="2026-01-10T19:02:00+01:00", until="2026-01-10T19:04:00+01:00")
    assert [2, 4, 6, 8, 10] == numbers(client, device_id="d1")
    assert [8, 10] == numbers(client, device_id="d1", since="2026-01-10T18:07:00Z")
    assert [11] == numbers(client, key_id="4fGh71Qa") == numbers(client, key_id="cli")
    assert list(range(1, 11)) == numbers(client, key_id="local")
    assert [] == numbers(client, device_id="nobody") == numbers(client, since="2027-01-01")


def test_the_trail_is_read_page_by_page(client: TestClient) -> None:
    """Each page names the next one, also in its header Link; nothing follows the last."""
    seen: list[int] = []
    path = "/audit?limit=4&key_id=local"
    while path:
        answer = client.get(path)
        seen += [entry["entry"] for entry in answer.json()["entries"]]
        following = answer.json()["next"]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
        assert (following is None) == (path == "")
        assert not path or f"after={following}" in path

    assert list(range(1, 11)) == seen


def test_the_trail_is_followed(client: TestClient) -> None:
    """Asking again after the last line that was read gives what was added since."""
    last = numbers(client)[-1]
    assert [] == numbers(client, after=last)
    client.post("/send", json={"device_id": "follow", "switch": True})

    assert ["follow"] == [entry["subject"] for entry in entries(client, after=last)]


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ("since=yesterday", "since"),
        ("since=2026-02-30", "since"),
        ("until=24h", "until"),
        ("since=2026-01-10T18:00:00 01:00", "since"),
        ("device_id=<script>", "device_id"),
        ("key_id=", "key_id"),
        ("device_id=d1&key_id=local", "key_id"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
        ("after=x", "after"),
        ("limit=1&limit=2", "limit"),
        ("page=2", "page"),
    ],
)
def test_a_question_without_meaning(shared_server: RunningServer, asked: str, parameter: str) -> None:
    """It is refused by the parameter's name, never by its value."""
    answer = shared_server.client.get(f"/audit?{asked}")

    assert (422, "/problems/bad-query") == (answer.status_code, answer.json()["type"])
    assert parameter == answer.json()["parameter"]
    assert answer.json()["detail"].startswith((parameter, "there is no such"))
    assert "script" not in answer.text


def test_limits_are_told_as_they_are_here(shared_server: RunningServer) -> None:
    """A page of the trail may have more lines than one of devices."""
    assert "limit must be from 1 to 1000" == shared_server.client.get("/audit?limit=0").json()["detail"]
