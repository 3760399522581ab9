"""`heatfleet audit`: the trail as people read it, beside a running server."""

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain.access import CLI, LOCAL, Actor, AuditEntry
from heatfleet.domain.commands import Command
from heatfleet.storage import open_ledger
from tests.cli.conftest import Run
from tests.contract.ledgers import accept, settle
from tests.serving import RunningServer

NOW_MS = 1_768_068_000_000  # 2026-01-10T18:00Z
KEY = "4fGh7Kq2"
STORE = "sqlite:///heatfleet.db"
TOLD = f"""\
time                      who       from             what        about                   detail  result
2026-01-10T18:00:00.000Z  {KEY}  192.0.2.7        order       bedroom-1               on      expired
2026-01-10T18:01:00.000Z  local     127.0.0.1        order       bedroom-2               off     not-found
2026-01-10T18:02:00.000Z  cli       root             key-revoke  {KEY}                -       done
"""


@pytest.fixture
def trail(run: Run) -> None:
    """A ledger in the folder where commands run, with a trail of three lines."""
    with closing(open_ledger(STORE)) as ledger:
        command = Command("c1", "bedroom-1", None, True, NOW_MS, NOW_MS + 300_000)
        accept(ledger, command, by=Actor(KEY, "192.0.2.7"))
        settle(ledger, "c1", "published", NOW_MS)
        ledger.note(
            AuditEntry(NOW_MS + 60_000, Actor(LOCAL, "127.0.0.1"), "order", "bedroom-2", "off", "not-found"),
            AuditEntry(NOW_MS + 120_000, Actor(CLI, "root"), "key-revoke", KEY, "", "done"),
        )


def abouts(shown: str) -> list[str]:
    """The column of what the lines are about."""
    return [line.split()[4] for line in shown.splitlines()[1:]]


def test_the_trail_as_a_table(trail: None, run: Run) -> None:
    """Time, who, from where, what, about whom, what exactly and with which result; the oldest first."""
    shown = run("audit", "--store", STORE)

    assert (0, TOLD, "") == (shown.code, shown.out, shown.err)


def test_the_trail_as_json(trail: None, run: Run) -> None:
    """One object a line, with the names that the API uses."""
    first, *_, last = [json.loads(line) for line in run("audit", "--store", STORE, "--json").out.splitlines()]

    assert {
        "entry": 1,
        "at": "2026-01-10T18:00:00.000Z",
        "actor": KEY,
        "address": "192.0.2.7",
        "action": "order",
        "subject": "bedroom-1",
        "detail": "on",
        "result": "expired",
        "command_id": "c1",
    } == first
    assert (3, None) == (last["entry"], last["command_id"])


def test_a_part_of_the_trail(trail: None, run: Run) -> None:
    """Of a time, a heater, a key, or the newest few."""
    days = (time.time_ns() // 1_000_000 - NOW_MS) // 86_400_000

    def shown(*words: str) -> list[str]:
        return abouts(run("audit", "--store", STORE, *words).out)

    assert ["bedroom-2", KEY] == shown("--since", "2026-01-10T18:01:00Z")
    assert ["bedroom-1"] == shown("--until", "2026-01-10T18:01")
    assert ["bedroom-2"] == shown("--since", "2026-01-10T19:01+01:00", "--until", "2026-01-10T18:02:00Z")
    assert ["bedroom-1", "bedroom-2", KEY] == shown("--since", f"{days + 2}d")
    assert [] == shown("--since", "24h")
    assert ["bedroom-2"] == shown("--device-id", "bedroom-2")
    assert ["bedroom-1", KEY] == shown("--key-id", KEY)
    assert [KEY] == shown("--key-id", "cli")
    assert ["bedroom-2", KEY] == shown("--limit", "2")
    assert [KEY] == shown("--key-id", KEY, "--limit", "1")


def test_a_long_trail_is_told_whole(run: Run) -> None:
    """However many pages it takes, each line comes once, in order."""
    with closing(open_ledger(STORE)) as ledger:
        here = Actor(LOCAL, "127.0.0.1")
        ledger.note(*(AuditEntry(NOW_MS, here, "order", f"d{number}", "on", "not-found") for number in range(2_345)))

    assert [f"d{number}" for number in range(2_345)] == abouts(run("audit", "--store", STORE).out)


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_nothing_in_the_trail_can_write_on_the_terminal(how: list[str], run: Run) -> None:
    """Control characters, whatever way they got in, are shown as their codes, and a line stays one line."""
    evil = "\x1b[2J\x07\r\n\u2028\u202e\x9b"
    with closing(open_ledger(STORE)) as ledger:
        ledger.note(AuditEntry(NOW_MS, Actor(f"k{evil}", f"a{evil}"), f"o{evil}", f"s{evil}", f"d{evil}", f"r{evil}"))
    shown = run("audit", "--store", STORE, *how).out

    assert not set(evil.replace("\n", "")) - set("[2J") & set(shown)
    assert (1 if how else 2) == len(shown.splitlines())
    assert "\\x1b[2J" in shown or "\\u001b[2J" in shown


def test_a_running_server_is_read_beside(server: RunningServer, run: Run) -> None:
    """The command needs no key and no server: it reads the file, while the server writes it."""
    server.client.post("/send", json={"device_id": "d1", "switch": True})
    shown = run("audit", "--store", server.store_url)

    assert [["local", "127.0.0.1", "order", "d1", "on", "published"]] == [
        line.split()[1:] for line in shown.out.splitlines()[1:]
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "yesterday"], "--since: it must be a date"),
        (["--since", "1000000000d"], "--since: write a number"),
        (["--until", "2026-02-30"], "--until: it must be a day"),
        (["--device-id", "<script>"], "--device-id: it must be"),
        (["--key-id", "<script>"], "8 characters"),
        (["--device-id", "d1", "--key-id", KEY], "choose one"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_an_option_without_meaning(words: list[str], told: str, trail: None, run: Run) -> None:
    """It is a usage error that names the option and does not repeat what was typed."""
    refused = run("audit", "--store", STORE, *words, COLUMNS="200")

    assert (ExitCode.USAGE, "") == (refused.code, refused.out)
    assert told in refused.err
    assert "script" not in refused.err


def test_no_ledger(run: Run) -> None:
    """The error says how to make one."""
    refused = run("audit", "--store", "sqlite:///nowhere.db")

    assert (ExitCode.CONFIGURATION, "") == (refused.code, refused.out)
    assert "heatfleet db init" in refused.err
    assert not Path("nowhere.db.d").exists()
