"""`heatfleet keys rotate` and `revoke`, and what the audit trail keeps of whoever types them."""

import json
import os
import pwd
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain.access import digest_of
from heatfleet.storage import open_key_ring
from tests.cli.conftest import Run
from tests.cli.made_keys import DAY_MS, FAR_S, STORE, create, id_of, keys, now_ms


def test_rotation_gives_the_same_rights_anew(run: Run) -> None:
    """The new key may do what the old one may, for as long; the old one ends after the overlap."""
    first = create(run, "--device-prefix", "fr-", "--messages-per-s", "7", "--expires", "90d", scope="ingest,report")
    with closing(open_key_ring(STORE)) as ring:
        ring.note_used({id_of(first): now_ms()})
    [before] = keys()
    rotated = run("keys", "rotate", id_of(first), "--overlap", "2d")
    old, new = keys()

    assert re.fullmatch(r"heat_\w{8}_\w{38}\n", rotated.out)
    assert digest_of(rotated.out.strip()) == new.digest != old.digest
    assert old == replace(before, replaced_by=new.key_id, expires_at_ms=old.expires_at_ms)
    assert 2 * DAY_MS <= (old.expires_at_ms or 0) - new.created_at_ms < 2 * DAY_MS + FAR_S * 1000
    assert new == replace(
        before,
        key_id=new.key_id,
        digest=new.digest,
        created_at_ms=new.created_at_ms,
        expires_at_ms=new.created_at_ms + 90 * DAY_MS,
        used_at_ms=None,
    )
    assert f"{old.key_id} goes on until 20" in rotated.err


def test_rotation_by_default(run: Run) -> None:
    """A week of overlap; and a key without end is replaced by one without end, unless asked otherwise."""
    first = create(run)
    second = json.loads(run("keys", "rotate", first, "--json").out)
    run("keys", "rotate", second["key_id"], "--expires", "30d", "--overlap", "0")
    old, new, newest = keys()

    assert (second["expires_at_ms"], newest.state(now_ms())) == (None, "active")
    assert 7 * DAY_MS <= (old.expires_at_ms or 0) - new.created_at_ms < 7 * DAY_MS + FAR_S * 1000
    assert new.state(now_ms()) == "expired"
    assert newest.expires_at_ms is not None


def test_a_key_is_rotated_once(run: Run) -> None:
    """The second time the key in its place is named, which is the one to rotate."""
    first = create(run)
    second = id_of(run("keys", "rotate", first).out)
    refused = run("keys", "rotate", first)

    assert (refused.code, refused.out) == (ExitCode.NOT_FOUND, "")
    assert second in refused.err
    assert len(keys()) == 2


def test_revoking_ends_a_key(run: Run) -> None:
    """It says when that takes effect; doing it again is fine and tells since when."""
    create(run)
    first = create(run)
    revoked, again = run("keys", "revoke", id_of(first)), run("keys", "revoke", id_of(first))

    assert (revoked.code, again.code) == (0, 0)
    assert revoked.out == f"{id_of(first)} (gateway lyon) is revoked: effective within 5 s in every server\n"
    assert again.out.startswith(f"{id_of(first)} (gateway lyon) was revoked on 20")
    assert [key.state(now_ms()) for key in keys()] == ["active", "revoked"]
    assert revoked.err == ""


def test_revoking_the_last_key_is_warned_of(run: Run) -> None:
    """Without any key the door stays closed."""
    revoked = run("keys", "revoke", id_of(create(run)), "--json")

    assert json.loads(revoked.out)["state"] == "revoked"
    assert "servers refuse everybody" in revoked.err


@pytest.mark.parametrize("shape", ["{id}", "heat_{id}", "heat_{id}_", "{key}", " {key}\n", "{id}_abc"])
def test_a_whole_key_may_stand_for_its_id(run: Run, shape: str) -> None:
    """People paste what they have; its secret part is not repeated."""
    key = create(run)
    create(run)
    revoked = run("keys", "revoke", shape.format(id=id_of(key), key=key))

    assert [revoked.code, "revoked"] == [0, keys()[0].state(now_ms())]
    assert key.rpartition("_")[2] not in revoked.out + revoked.err


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_an_id_that_is_not_there(run: Run, verb: str) -> None:
    """Its own exit code, and where to look."""
    create(run)
    refused = run("keys", verb, "00000000")

    assert (refused.code, refused.out) == (ExitCode.NOT_FOUND, "")
    assert "heatfleet keys list --all" in refused.err
    assert "00000000" not in refused.err


def test_a_key_that_has_ended_is_not_rotated(run: Run) -> None:
    """It says why, and to make a new one."""
    key = create(run)
    run("keys", "revoke", key)
    refused = run("keys", "rotate", key)

    assert refused.code == ExitCode.NOT_FOUND
    assert "this key is revoked" in refused.err
    assert len(keys()) == 1


def test_the_trail_tells_whose_account_it_was(run: Run) -> None:
    """As the system knows it, whatever the environment says; behind sudo also who used that."""
    run("keys", "create", "--scope", "ingest", "--name", "x", LOGNAME="mallory", USER="mallory", SUDO_UID="99999999")
    run("keys", "create", "--scope", "ingest", "--name", "x", SUDO_UID="evil\n")
    me = pwd.getpwuid(os.getuid()).pw_name
    with closing(sqlite3.connect("var/heatfleet.db.d/ledger.db")) as ledger:
        rows = ledger.execute("SELECT actor, address, action FROM audit").fetchall()

    assert rows == [("cli", f"{me} (sudo by uid 99999999)", "key-create"), ("cli", me, "key-create")]


def test_another_store(run: Run) -> None:
    """By option or by setting, as everywhere."""
    run("keys", "create", "--scope", "ingest", "--name", "x", "--store", "sqlite:///x.db")
    listed = run("keys", "list", "--json", HEATFLEET_STORE="sqlite:///x.db")

    assert len(json.loads(listed.out)) == 1
    assert not Path("var").exists()
