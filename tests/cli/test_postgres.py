"""Commands where orders and keys are in PostgreSQL."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.storage import open_key_ring, open_ledger
from tests.cli.conftest import Run
from tests.contract.ledgers import order, publish
from tests.postgres import GUARDED, PASSWORD, shared_postgres
from tests.serving import clean_environment, free_port


@pytest.fixture
def url() -> str:
    """An empty place for orders and keys."""
    return shared_postgres().fresh_url()


def test_tables_are_made_and_told(run: Run, url: str) -> None:
    """Both databases are made, and where orders are is told without what may be secret."""
    shown = f"{url.partition('?')[0]}?…"

    assert f"ready: {shown}, for orders and keys" in run("db", "init", HEATFLEET_DB=url).out.splitlines()
    assert shown == json.loads(run("db", "init", "--json", HEATFLEET_DB=url).out)["db"]
    assert f"orders     in {shown}" in run("db", "info", HEATFLEET_DB=url).out.splitlines()
    open_ledger(url, writable=False).close()


def test_keys_are_made_and_ended_there(run: Run, url: str) -> None:
    """The commands of keys and of the audit trail read and write PostgreSQL, and leave no file."""
    missing = run("keys", "list", HEATFLEET_DB=url)
    assert (ExitCode.CONFIGURATION, "") == (missing.code, missing.out)
    created = json.loads(run("keys", "create", "--scope", "report", "--name", "x", "--json", HEATFLEET_DB=url).out)
    run("keys", "revoke", created["key_id"], HEATFLEET_DB=url)

    with closing(open_key_ring(url)) as ring:
        [key] = ring.keys()
    assert (created["key_id"], True) == (key.key_id, key.revoked_at_ms is not None)
    trail = run("audit", "--json", HEATFLEET_DB=url).out.splitlines()
    assert ["key-create", "key-revoke"] == [json.loads(line)["action"] for line in trail]


def test_a_copy_of_the_store_says_what_is_not_in_it(run: Run, url: str) -> None:
    """Orders and keys are not in it, and it is said what copies them; a check looks at both."""
    run("db", "init", HEATFLEET_DB=url)
    copied = run("db", "backup", "copy", HEATFLEET_DB=url)

    assert ExitCode.OK == copied.code
    assert "orders, keys and the audit trail are not in this copy" in copied.err
    assert "pg_dump" in copied.err
    checks = json.loads(run("db", "check", "--json", HEATFLEET_DB=url).out)
    assert all(one["sound"] and "ledger" not in one["name"] for one in checks[:-1])
    assert "PostgreSQL at 127.0.0.1" in checks[-1]["name"]
    assert "does not survive a power cut" in checks[-1]["found"]  # as the tests' server does not sync


def test_the_doctor_looks_at_the_database(run: Run, url: str) -> None:
    """Whether it can be reached, whether its tables are there, and whether it keeps what it says it keeps."""

    def found(**environment: str) -> dict[str, str]:
        checks = json.loads(run("doctor", "--json", **environment).out)
        return {one["name"]: f"{one['state']}: {one['found']}" for one in checks}

    assert "heatfleet db init" in found(HEATFLEET_DB=url)["db"]
    with closing(open_ledger(url)) as ledger:
        publish(ledger, order())
        assert "tables of version 1, open in 1 servers" in found(HEATFLEET_DB=url)["db"]
    assert found(HEATFLEET_DB="postgresql://u@127.0.0.1:1/d")["db"].startswith("fail: PostgreSQL at 127.0.0.1:1")
    assert "db" not in found()
    assert found(HEATFLEET_STORE="bigquery://p/d")["db"].startswith("warn: orders and keys are in a file")


@pytest.mark.parametrize("password", [PASSWORD, "wr0ng"])
@pytest.mark.parametrize(
    "words", [["config"], ["config", "--json"], ["doctor"], ["db", "init"], ["keys", "list"], ["audit"]]
)
def test_no_command_says_the_password(run: Run, words: list[str], password: str) -> None:
    """Neither where all is well nor where it is not."""
    address = shared_postgres().url(role=GUARDED, password=password, database="nowhere")
    ran = run(*words, HEATFLEET_DB=address)

    for secret in (password, quote(password, safe="")):
        assert secret not in ran.out + ran.err


def test_a_server_without_its_database_says_where_it_looked(tmp_path: Path) -> None:
    """It ends, to be started again, and its words have no password."""
    address = shared_postgres().url(role=GUARDED, password="wr0ng")
    ended = subprocess.run(
        [sys.executable, "-m", "heatfleet", "serve"],
        env=clean_environment() | {"HEATFLEET_DB": address, "HEATFLEET_PORT": str(free_port())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ExitCode.TRY_AGAIN == ended.returncode
    assert "password authentication failed" in ended.stderr
    assert "wr0ng" not in ended.stdout + ended.stderr
