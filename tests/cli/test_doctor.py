"""`heatfleet doctor` where something is wrong; with all well it is tested beside a server."""

import json
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.cli import doctor
from heatfleet.cli.exits import ExitCode
from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from heatfleet.storage.block import Block
from tests.cli.conftest import Run
from tests.cli.made_keys import DAY_MS, keep, keys, now_ms

NOWHERE = ("--url", "http://127.0.0.1:9")


def findings(run: Run, **environment: str) -> dict[str, dict[str, str]]:
    """Each check by its name."""
    shown = run("doctor", "--json", *NOWHERE, **environment)
    checks = {check["name"]: check for check in json.loads(shown.out)}
    failed = any(check["state"] == "fail" for check in checks.values())

    assert shown.code == (ExitCode.FAILURE if failed else ExitCode.OK)
    return checks


def test_new_machine_gets_warnings_alone(run: Run) -> None:
    """No store and no server yet is how everybody begins; looking makes no files."""
    checks = findings(run)

    assert {name for name, check in checks.items() if check["state"] != "ok"} == {"store", "server"}
    assert "heatfleet db init" in checks["store"]["found"]
    assert "heatfleet serve" in checks["server"]["found"]
    assert list(Path().iterdir()) == []


def test_for_people(run: Run) -> None:
    """A line for each check."""
    lines = run("doctor", *NOWHERE).out.splitlines()

    assert lines[0].split()[:2] == ["ok", "python"]
    assert [line.split()[0] for line in lines] == ["ok"] * 5 + ["warn", "ok", "ok", "warn"]


def test_what_to_do_stands_below(run: Run) -> None:
    """Marked by an arrow."""
    lines = run("doctor", *NOWHERE, HEATFLEET_PRT="1").out.splitlines()

    assert lines[-1].strip() == "→ mend the variable, or the line in .env"


def test_settings_that_do_not_fit_end_it(run: Run) -> None:
    """Without settings there is nothing more to look at."""
    checks = findings(run, HEATFLEET_PRT="1")

    assert list(checks) == ["python", "sqlite", "settings"]
    assert checks["settings"]["state"] == "fail"
    assert "HEATFLEET_PORT" in checks["settings"]["found"]


@pytest.mark.parametrize(
    ("version", "state"), [("3.51.2", "fail"), ("3.40.1", "fail"), ("3.51.3", "ok"), ("4.0.0", "ok")]
)
def test_sqlite_that_can_damage_files(version: str, state: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SQLite that is at work is looked at, whatever brought it; with one that has the bug no server begins."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    looked = findings(run)["sqlite"]
    made = run("db", "init")

    assert looked["state"] == state
    assert version in looked["found"]
    assert made.code == (ExitCode.CONFIGURATION if state == "fail" else ExitCode.OK)
    assert ("update apsw" in made.err) == (state == "fail")


def test_sqlite_here_is_one_without_the_bug() -> None:
    """What is installed with this program is 3.51.3 or newer."""
    assert (3, 51, 3) <= tuple(map(int, apsw.sqlite_lib_version().split(".")))


def test_bus_that_does_not_exist(run: Run) -> None:
    """What the server would refuse is no "ok" here."""
    settings = findings(run, HEATFLEET_BUS="foo")["settings"]

    assert settings["state"] == "fail"
    assert "local:" in settings["fix"]


def test_damaged_store(run: Run) -> None:
    """A file that is no database is a failure with its name."""
    Path("x.db").write_bytes(b"not a database, whatever its name says" * 100)
    checks = findings(run, HEATFLEET_STORE="sqlite:///x.db")

    assert checks["store"]["state"] == "fail"
    assert "x.db" in checks["store"]["found"]


def test_unknown_store(run: Run) -> None:
    """A scheme that does not exist is told with those that do."""
    checks = findings(run, HEATFLEET_STORE="mongo://x/y")

    assert checks["store"]["state"] == "fail"
    assert "sqlite:///" in checks["store"]["found"]


def test_folder_that_cannot_be_written(run: Run) -> None:
    """The right is missing, and to whom."""
    checks = findings(run, HEATFLEET_STORE="sqlite:////proc/heatfleet/x.db")

    assert checks["folder"]["state"] == "fail"
    assert checks["folder"]["found"].startswith("/proc: ")


def test_disk_that_fills_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning first, then a failure."""
    monkeypatch.setattr(doctor, "_DISK_WARN_BYTES", 1 << 62)
    warned = findings(run)["disk"]
    monkeypatch.setattr(doctor, "_DISK_FAIL_BYTES", 1 << 62)
    failed = findings(run)["disk"]

    assert (warned["state"], failed["state"]) == ("warn", "fail")
    assert warned["fix"].startswith("free some space near ")


def test_clock_that_fell_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock before this program was written makes every reading look like the future."""
    monkeypatch.setattr(doctor, "_CLOCK_MIN_MS", 1 << 50)

    assert findings(run)["clock"]["state"] == "fail"


def test_rollup_that_stands_still(run: Run) -> None:
    """Readings that wait for much longer than a rollup period are a warning with its cure."""
    with closing(open_store("sqlite:///x.db")) as store:
        store.append([Block.of([Reading("d1", "p1", POWER, 1_732_622_400_000, 1000.0)])], received_ms=1_732_622_400_000)
    checks = findings(run, HEATFLEET_STORE="sqlite:///x.db")

    assert checks["rollup"]["state"] == "warn"
    assert "heatfleet rollup" in checks["rollup"]["fix"]


def test_rollup_that_somebody_else_runs(run: Run) -> None:
    """A server that starts none leaves it to a job of every few minutes, so readings may wait as long."""
    received_ms = now_ms() - 100_000
    with closing(open_store("sqlite:///x.db")) as store:
        store.append([Block.of([Reading("d1", "p1", POWER, received_ms, 1000.0)])], received_ms=received_ms)
    store_url = "sqlite:///x.db"
    elsewhere = findings(run, HEATFLEET_STORE=store_url, HEATFLEET_ROLLUP_EVERY_S="0")["rollup"]
    here = findings(run, HEATFLEET_STORE=store_url, HEATFLEET_ROLLUP_EVERY_S="5")["rollup"]

    assert (elsewhere["state"], here["state"]) == ("ok", "warn")


def test_keys_that_nobody_needs(run: Run) -> None:
    """Without keys this machine alone may call, which is fine; where others reach the server it is not."""
    here = findings(run)["keys"]
    elsewhere = findings(run, HEATFLEET_HOST="0.0.0.0")["keys"]

    assert (here["state"], here["fix"]) == ("ok", "")
    assert elsewhere["state"] == "fail"
    assert "heatfleet keys create" in elsewhere["fix"]
    assert list(Path().iterdir()) == []


def test_keys_that_are_looked_after(run: Run) -> None:
    """How many open something; those that end soon are a warning, and when all have ended nobody gets in."""
    keep(name="fine")
    fine = findings(run, HEATFLEET_HOST="0.0.0.0")["keys"]
    soon = keep(name="soon", at_ms=now_ms(), expires_at_ms=now_ms() + DAY_MS)
    old = keep(name="old", at_ms=now_ms() - 400 * DAY_MS)
    warned = findings(run)["keys"]
    for key in keys():
        run("keys", "revoke", key.key_id)
    ended = findings(run)["keys"]

    assert (fine["state"], fine["found"]) == ("ok", "1 active")
    assert warned["state"] == "warn"
    assert warned["found"].startswith(f"3 active; {soon.key_id} (soon) ends on 20")
    assert warned["found"].endswith(", and 1 more: `heatfleet keys list`")
    assert f"heatfleet keys rotate {soon.key_id}" in warned["fix"]
    assert old.key_id not in warned["found"]
    assert ended["state"] == "fail"
    assert "every request is refused" in ended["found"]


def test_keys_that_cannot_be_read(run: Run) -> None:
    """A damaged file is a failure with its name."""
    run("db", "init")
    Path("var/heatfleet.db.d/ledger.db").write_bytes(b"not a database, whatever its name says" * 100)
    checks = findings(run)

    assert checks["keys"]["state"] == "fail"
    assert "ledger.db" in checks["keys"]["found"]
