"""`heatfleet db backup` and `heatfleet db check`, on a store that no server holds."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain.messages import POWER, Reading
from heatfleet.domain.slots import DAY_MS
from heatfleet.storage import open_ledger, open_store
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import backup
from tests.cli.conftest import Run

NOON_MS = 1_732_622_400_000
STORE = ("--store", "sqlite:///x.db")


@pytest.fixture
def _store(run: Run) -> None:
    """A store of two days, of which one waits for the rollup."""
    with closing(open_store("sqlite:///x.db")) as store:
        store.append([Block.of([Reading("d1", "p1", POWER, NOON_MS, 1000.0)])], NOON_MS)
        store.rollup(NOON_MS + DAY_MS)
        store.append([Block.of([Reading("d1", "p1", POWER, NOON_MS + DAY_MS, 500.0)])], NOON_MS)
    open_ledger("sqlite:///x.db").close()


@pytest.mark.usefixtures("_store")
def test_a_backup_is_a_store(run: Run) -> None:
    """What it says to type works: the copy is rolled up and reported as the store it was made of."""
    made = run("db", "backup", "copies/one", *STORE)
    url = made.out.splitlines()[-1].removeprefix("to use it: HEATFLEET_STORE=")
    run("rollup", HEATFLEET_STORE=url)
    run("rollup", *STORE)
    of_copy, of_store = (json.loads(run("db", "info", "--json", "--store", one).out) for one in (url, STORE[1]))

    assert made.code == 0
    assert made.out.startswith("copied 4 files, ")
    assert Path("copies/one/x.db").is_file()
    assert (1, 0) == (of_copy["devices"], of_copy["lag_ms"]) == (of_store["devices"], of_store["lag_ms"])


@pytest.mark.usefixtures("_store")
def test_a_backup_as_json(run: Run) -> None:
    """Scripts learn where it is, how large, how long it took, and what was left out, which is said on stderr too."""
    Path("x.db.d/notes.txt").write_text("mine")
    made = run("db", "backup", "one", *STORE, "--json")
    told = json.loads(made.out)

    assert told["files"] == {name: (Path("one") / name).stat().st_size for name in told["files"]}
    assert sorted(told["files"]) == [
        "x.db", "x.db.d/journal-000000000001.db", "x.db.d/ledger.db", "x.db.d/readings-2024-11-26.db",
    ]  # fmt: skip
    assert told["bytes"] == sum(told["files"].values())
    assert told["store"] == f"sqlite:///{Path('one/x.db').absolute()}"
    assert told["left_out"] == ["notes.txt"]
    assert "notes.txt was left out" in made.err


@pytest.mark.usefixtures("_store")
def test_a_folder_that_is_used_is_refused(run: Run) -> None:
    """Nothing is ever written over."""
    run("db", "backup", "one", *STORE)
    again = run("db", "backup", "one", *STORE)

    assert again.code == ExitCode.CONFIGURATION
    assert "is there already" in again.err


def test_without_a_store_there_is_no_backup(run: Run) -> None:
    """And no folder that looks like one."""
    refused = run("db", "backup", "one")

    assert refused.code == ExitCode.CONFIGURATION
    assert [] == list(Path().iterdir())


@pytest.mark.usefixtures("_store")
def test_an_interrupted_backup_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is answered with one line, and with the exit code that stands for it."""

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "sync", interrupted)
    ended = run("db", "backup", "copies/one", *STORE)

    assert ended.code == ExitCode.INTERRUPTED
    assert "nothing is left of this backup" in ended.err
    assert [] == list(Path("copies").iterdir())


@pytest.mark.usefixtures("_store")
def test_a_sound_store(run: Run) -> None:
    """A line for each file, and with --figures one for them."""
    sound = run("db", "check", *STORE, "--figures")
    as_json = json.loads(run("db", "check", *STORE, "--json").out)

    assert sound.code == 0
    assert [f"ok   {one['name']}" for one in as_json] == [
        line.rpartition("  ")[0] for line in sound.out.splitlines()[:-1]
    ]
    assert sound.out.splitlines()[-1] == "ok   figures  those of the readings"
    assert len(as_json) == 4
    assert [] == list(Path().glob("*check*"))


@pytest.mark.usefixtures("_store")
def test_a_damaged_store(run: Run) -> None:
    """What is damaged, missing or of another store is named, with what to do; the exit code tells scripts."""
    journal, ledger, day = sorted(Path("x.db.d").glob("*.db"))
    with closing(open_store("sqlite:///other.db")) as other:
        other.append([Block.of([Reading("d9", "p9", POWER, NOON_MS, 1.0)])], NOON_MS)
        other.rollup(NOON_MS + DAY_MS)
    shutil.copy(Path("other.db.d") / day.name, day)
    ledger.unlink()
    journal.write_bytes(journal.read_bytes()[:-8192])
    found = run("db", "check", *STORE)
    as_json = {one["name"]: one for one in json.loads(run("db", "check", *STORE, "--json").out)}

    assert found.code == ExitCode.FAILURE
    assert found.out.count("     → stop the server and restore the store from a backup\n") >= 3
    assert "another store" in as_json[str(day)]["found"]
    assert as_json[str(ledger)]["found"].startswith("missing")
    assert not as_json[str(journal)]["sound"]
    assert as_json["x.db"]["sound"]
    assert ExitCode.FAILURE == run("db", "check", "--quick", *STORE).code


@pytest.mark.usefixtures("_store")
def test_a_day_or_rows_that_are_missing(run: Run) -> None:
    """A day with figures has readings, and rows of the journal that no figure counts are nowhere else."""
    for path in Path("x.db.d").glob("[jr]*.db"):
        path.unlink()
    missing = {one["name"]: one["found"] for one in json.loads(run("db", "check", *STORE, "--json").out)}

    assert missing["x.db.d/readings-2024-11-26.db"] == "missing: there are figures of this day, but no readings"
    assert missing["journal"] == "missing: it ends at row 0, while figures count up to row 1"
    with closing(open_store("sqlite:///x.db")) as store:
        store.append([Block.of([Reading("d1", "p1", POWER, NOON_MS + 1, 1.0)])] * 3, NOON_MS)
    [journal] = Path("x.db.d").glob("journal-*.db")
    with closing(apsw.Connection(str(journal))) as connection:
        connection.execute("DELETE FROM journal WHERE seq = 3")
    journal.rename(journal.with_name("journal-000000000005.db"))
    found = {one["name"]: one["found"] for one in json.loads(run("db", "check", *STORE, "--json").out)}

    assert found["journal"] == "missing: rows 2 to 4, which no figure counts"
    assert found["x.db.d/journal-000000000005.db"].startswith("row 2 stands where row 5 belongs")


@pytest.mark.usefixtures("_store")
def test_figures_that_are_not_those_of_the_readings(run: Run) -> None:
    """What no structure shows is found by making the figures again, and a rebuild mends it."""
    with closing(apsw.Connection("x.db")) as connection:
        connection.execute("UPDATE slot_sum SET energy_mj = energy_mj + 1 WHERE product = 0")
    found = json.loads(run("db", "check", *STORE, "--figures", "--json").out)

    assert [one["name"] for one in found if not one["sound"]] == ["figures"]
    assert "figures differ" in found[-1]["found"]
    assert "heatfleet rollup --rebuild" in found[-1]["fix"]
    run("rollup", "--rebuild", *STORE)
    assert 0 == run("db", "check", *STORE, "--figures").code


def test_check_without_a_store(run: Run) -> None:
    """It does not make one by looking."""
    refused = run("db", "check")

    assert refused.code == ExitCode.CONFIGURATION
    assert "heatfleet db init" in refused.err
    assert [] == list(Path().iterdir())
