"""`heatfleet keys create` and `list`, without a server."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain.access import SCOPES, ApiKey, Bounds, digest_of, is_well_formed
from heatfleet.storage import open_key_ring
from tests.cli.conftest import Ran, Run
from tests.cli.made_keys import DAY_MS, FAR_S, STORE, create, id_of, keep, keys, now_ms
from tests.contract.conftest import SOMEBODY, made
from tests.serving import clean_environment


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def test_the_key_is_alone_on_stdout(run: Run) -> None:
    """`KEY=$(heatfleet keys create ...)` gets the key and nothing else; what to do with it is said beside it."""
    created = run("keys", "create", "--scope", "ingest", "--name", "gateway lyon")
    [key] = keys()

    assert re.fullmatch(r"heat_\w{8}_\w{38}\n", created.out)
    assert is_well_formed(created.out.strip())
    assert (key.key_id, key.digest) == (id_of(created.out), digest_of(created.out.strip()))
    assert key == ApiKey(key.key_id, key.digest, "gateway lyon", frozenset({"ingest"}), key.created_at_ms)
    assert abs(now_ms() - key.created_at_ms) < FAR_S * 1000
    assert "Authorization: Bearer heat_..." in created.err
    assert "export HEATFLEET_API_KEY=heat_..." in created.err
    assert f"beside {Path.cwd()}/var/heatfleet.db" in created.err


def test_a_shell_can_keep_it(tmp_path: Path) -> None:
    """As people type it."""
    script = f'KEY=$({sys.executable} -m heatfleet keys create --scope report --name me 2>/dev/null) && echo "<$KEY>"'
    said = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"<heat_\w{47}>\n", said.stdout)
    assert said.stderr == ""


def test_a_key_is_never_shown_again(run: Run, tmp_path: Path) -> None:
    """Neither beside the one time on stdout, nor by any later command, nor in any file."""
    created = run("keys", "create", "--scope", "ingest", "--name", "x", "--json")
    key = json.loads(created.out)["key"]
    rotated = run("keys", "rotate", key)
    later = [
        created.err,
        rotated.out,
        rotated.err,
        *(f"{ran.out}{ran.err}" for ran in (run("keys", "list"), run("keys", "list", "--all", "--json"))),
        run("keys", "revoke", key).out,
        run("keys", "rotate", key).err,
        run("keys", "revoke", f"{key}!").err,
        run("doctor", "--url", "http://127.0.0.1:9").out,
        "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()),
    ]

    assert [] == [text for text in later if key[14:30] in text]


def test_everything_a_key_can_be(run: Run) -> None:
    """Scopes one by one or with commas, the devices it is for, its limits and its end."""
    before_ms = now_ms()
    options = "--device-prefix fr- --product-prefix p. --messages-per-s 50 --commands-per-min 0 --expires 90d"
    created = run(
        "keys", "create", *["--scope", "report,command", "--scope", "ingest", "--name", "x"], *options.split(), "--json"
    )
    told = json.loads(created.out)
    [key] = keys()

    assert key == replace(
        key,
        name="x",
        scopes=frozenset({"ingest", "command", "report"}),
        bounds=Bounds("fr-", "p."),
        messages_per_s=50,
        commands_per_min=0,
    )
    assert 90 * DAY_MS <= (key.expires_at_ms or 0) - before_ms < 90 * DAY_MS + FAR_S * 1000
    assert told == {
        "key": told["key"],
        "key_id": key.key_id,
        "name": "x",
        "scopes": ["ingest", "command", "report"],
        "created_at_ms": key.created_at_ms,
        "messages_per_s": 50,
        "commands_per_min": 0,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": None,
        "replaced_by": None,
        "used_at_ms": None,
        "device_prefix": "fr-",
        "product_prefix": "p.",
        "state": "active",
    }
    assert digest_of(told["key"]) == key.digest


@pytest.mark.parametrize(
    ("when", "end_ms"),
    [
        ("2077-01-01", 3_376_684_800_000),
        ("2077-01-01T18:00", 3_376_749_600_000),
        ("2077-01-01T18:00+01:00", 3_376_746_000_000),
    ],
)
@pytest.mark.usefixtures("in_new_york")
def test_a_key_may_end_on_a_date(run: Run, when: str, end_ms: int) -> None:
    """In UTC, unless it says otherwise; wherever the machine is."""
    create(run, "--expires", when)

    assert [end_ms] == [key.expires_at_ms for key in keys()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--name", "x"], SCOPES),
        (["create", "--name", "x", "--scope", ""], SCOPES),
        (["create", "--name", "x", "--scope", "everything"], SCOPES),
        (["create", "--name", "x", "--scope", "ingest,wrong"], SCOPES),
        (["create", "--scope", "ingest"], ["--name"]),
        (["create", "--scope", "ingest", "--name", "  "], ["--name", "1 to 64"]),
        (["create", "--scope", "ingest", "--name", "wrong\nx"], ["--name", "visible"]),
        (["create", "--scope", "ingest", "--name", "wrong\x1b[2J"], ["--name", "visible"]),
        (["create", "--scope", "ingest", "--name", "x" * 65], ["--name", "1 to 64"]),
        (["create", "--scope", "ingest", "--name", "x", "--device-prefix", "wrong*"], ["--device-prefix", "A-Z a-z"]),
        (["create", "--scope", "ingest", "--name", "x", "--product-prefix", ""], ["--product-prefix", "A-Z a-z"]),
        (["create", "--scope", "admin", "--name", "x", "--device-prefix", "a"], ["admin", "prefix"]),
        (["create", "--scope", "metrics", "--name", "x", "--product-prefix", "a"], ["metrics", "prefix"]),
        (["create", "--scope", "ingest", "--name", "x", "--expires", "wrong"], ["--expires", "90d", "2027-01-01"]),
        (["create", "--scope", "ingest", "--name", "x", "--expires", "0d"], ["--expires", "hundred years"]),
        (["create", "--scope", "ingest", "--name", "x", "--expires", "2020-01-01"], ["--expires", "hundred years"]),
        (["create", "--scope", "ingest", "--name", "x", "--expires", "9999-12-31"], ["--expires", "hundred years"]),
        (["create", "--scope", "ingest", "--name", "x", "--expires", "99999w"], ["--expires", "hundred years"]),
        (["create", "--scope", "ingest", "--name", "x", "--messages-per-s", "-1"], ["--messages-per-s"]),
        (["create", "--scope", "ingest", "--name", "x", "--commands-per-min", str(1 << 70)], ["--commands-per-min"]),
        (["rotate", "00000000", "--overlap", "wrong"], ["--overlap", "7d"]),
        (["rotate", "00000000", "--expires", "wrong"], ["--expires", "90d"]),
        (["rotate", "wrong"], ["KEY_ID", "8 characters"]),
        (["revoke", "wrong wrong"], ["KEY_ID", "8 characters"]),
        (["revoke", ""], ["KEY_ID", "8 characters"]),
    ],
)
def test_what_has_no_meaning_is_told(run: Run, arguments: list[str], words: list[str]) -> None:
    """The option, what it may be, and not what it was; nothing is made, not even a store."""
    refused = run("keys", *arguments)
    said = " ".join(refused.err.replace("│", " ").split())

    assert (refused.code, refused.out) == (ExitCode.USAGE, "")
    assert [] == [word for word in words if word not in said]
    assert "wrong" not in said
    assert not Path("var").exists()


@pytest.mark.parametrize(
    ("scope", "warned"),
    [("admin", ["admin opens everything"]), ("command:bulk", ["command:bulk switches"]), ("ingest", [])],
)
def test_wide_scopes_are_warned_of(run: Run, scope: str, warned: list[str]) -> None:
    """One line each, that says what they open."""
    said = run("keys", "create", "--scope", scope, "--name", "x").err
    warnings = [line for line in said.splitlines() if "warning" in line]

    assert len(warnings) == len(warned)
    assert all(words in line for words, line in zip(warned, warnings, strict=True))


def test_the_first_key_closes_the_door(run: Run) -> None:
    """Whoever makes the first key is told that nothing goes without one from now on; later ones change nothing."""
    create_one = ("keys", "create", "--scope", "ingest", "--name", "x")
    said = [run(*create_one).err, run(*create_one).err]

    assert ["from now on every request needs one" in one for one in said] == [True, False]


def test_list_shows_what_each_may_do(run: Run) -> None:
    """A line each, with all there is to know; those that have ended only when asked for."""
    run("keys", "create", "--scope", "ingest", "--name", "gateway [b]lyon[/b]", "--device-prefix", "fr-")
    used = keep(name="dash", scopes=frozenset({"report", "metrics"}), commands_per_min=5, at_ms=1_768_068_000_000)
    ended = keep(name="old", expires_at_ms=1_768_068_000_001)
    with closing(open_key_ring(STORE)) as ring:
        ring.note_used({used.key_id: 1_768_071_660_000})
        ring.revoke(keep(name="gone").key_id, 1_768_068_000_000, by=SOMEBODY)
    shown, everything = run("keys", "list"), run("keys", "list", "--all")
    lines, all_lines = shown.out.splitlines(), everything.out.splitlines()

    assert lines[0].split() == ["id", "name", "scopes", "limits", "state", "created", "expires", "last", "used"]
    assert re.fullmatch(
        r"\w{8} +gateway \[b\]lyon\[/b\] +ingest +devices fr-\* +active +\S+ \S+ +never +never *", lines[1]
    )
    assert lines[2].split() == (
        f"{used.key_id} dash report metrics 5 commands/min active 2026-01-10 18:00 never 2026-01-10 19:01".split()
    )
    assert len(lines) == 3
    assert "have ended: 2" in shown.err
    assert [line.split()[0] for line in all_lines[1:]] == [key.key_id for key in keys()]
    assert f" {ended.name} " in all_lines[3]
    assert " expired " in all_lines[3]
    assert " revoked " in all_lines[4]
    assert "ended" not in everything.err


def test_list_as_json(run: Run) -> None:
    """An array, for scripts; of the digest nothing."""
    create(run, "--expires", "20d")
    ended = keep(name="old", expires_at_ms=5)

    [active] = json.loads(run("keys", "list", "--json").out)
    [_, last] = json.loads(run("keys", "list", "--json", "--all").out)
    assert (active["name"], active["scopes"], active["state"]) == ("gateway lyon", ["ingest"], "active")
    assert (last["key_id"], last["state"], last["expires_at_ms"]) == (ended.key_id, "expired", 5)
    assert "digest" not in active


def test_list_without_keys_says_how_to_make_one(run: Run) -> None:
    """A store without keys is no error; looking makes none."""
    run("db", "init")
    listed, as_json = run("keys", "list"), run("keys", "list", "--json")

    assert (listed.code, listed.out) == (0, "")
    assert "heatfleet keys create" in listed.err
    assert (as_json.code, json.loads(as_json.out)) == (0, [])


@pytest.mark.parametrize("arguments", [["list"], ["revoke", "00000000"], ["rotate", "00000000"]])
def test_without_a_store_only_create_makes_one(run: Run, arguments: list[str]) -> None:
    """Whoever looks in the wrong folder is told so, and finds no empty store there afterwards."""
    refused = run("keys", *arguments)

    assert refused.code == ExitCode.CONFIGURATION
    assert "there is no database" in refused.err
    assert not Path("var").exists()


def lines_of_warning(ran: Ran) -> list[str]:
    return [line.removeprefix("heatfleet: warning: ") for line in ran.err.splitlines() if "warning" in line]


def test_list_warns_before_it_is_too_late(run: Run) -> None:
    """Of keys that end within 14 days, and of those older than a year; not of keys that have ended."""
    soon = keep(name="soon", at_ms=now_ms(), expires_at_ms=now_ms() + 13 * DAY_MS)
    keep(name="later", at_ms=now_ms(), expires_at_ms=now_ms() + 15 * DAY_MS)
    old = keep(name="old", at_ms=now_ms() - 366 * DAY_MS)
    keep(name="ended", at_ms=now_ms() - 366 * DAY_MS, expires_at_ms=now_ms() - DAY_MS)
    warnings = lines_of_warning(run("keys", "list"))

    assert len(warnings) == 2
    assert warnings[0].startswith(f"{soon.key_id} (soon) ends on 20")
    assert warnings[1] == f"{old.key_id} (old) is 366 days old: `heatfleet keys rotate {old.key_id}` makes a new one"


def test_a_replaced_key_that_is_still_used_is_warned_of(run: Run) -> None:
    """Its end is no news; that somebody still has it is."""
    key, quiet = keep(at_ms=now_ms() - 500 * DAY_MS), keep(at_ms=now_ms() - 500 * DAY_MS)
    new = made(at_ms=now_ms() - DAY_MS)
    with closing(open_key_ring(STORE)) as ring:
        ring.replace(key.key_id, new, expires_at_ms=now_ms() + DAY_MS, by=SOMEBODY)
        ring.replace(quiet.key_id, made(at_ms=now_ms() - DAY_MS), expires_at_ms=now_ms() + DAY_MS, by=SOMEBODY)
        ring.note_used({key.key_id: new.created_at_ms + 60_000, quiet.key_id: new.created_at_ms + 60_000})
        silent = lines_of_warning(run("keys", "list"))
        ring.note_used({key.key_id: now_ms()})
    [warning] = lines_of_warning(run("keys", "list"))

    assert silent == []
    assert warning.startswith(f"{key.key_id} (gateway lyon) was replaced by {new.key_id} and is still used: give")


def test_a_product_alone_does_not_bind_who_sends(run: Run) -> None:
    """Messages say themselves of which product a device is: such a key would be bound to nothing."""
    asked = ("keys", "create", "--name", "x", "--product-prefix", "p")

    assert 2 == run(*asked, "--scope", "ingest").code
    assert 0 == run(*asked, "--scope", "report").code
    assert 0 == run(*asked, "--scope", "ingest", "--device-prefix", "fr-").code
