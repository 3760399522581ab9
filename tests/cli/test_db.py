"""`heatfleet db` and `heatfleet rollup`, on a store that no server holds."""

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from heatfleet.cli.exits import ExitCode
from heatfleet.domain.messages import POWER, Reading
from heatfleet.domain.slots import DAY_MS
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages
from heatfleet.storage.block import Block
from tests.cli.conftest import Run

NOON_MS = 1_732_622_400_000


def append(url: str, *readings: Reading) -> None:
    """Keep readings as a server does."""
    with closing(open_store(url)) as store:
        store.append([Block.of(readings)], received_ms=NOON_MS)


def test_init_makes_a_database_that_info_tells_of(run: Run) -> None:
    """It is there before any server has run."""
    made = run("db", "init")
    info = json.loads(run("db", "info", "--json").out)

    assert made.code == 0
    assert Path("var/heatfleet.db").is_file()
    assert "var/heatfleet.db" in made.out
    assert (info["devices"], info["as_of_ms"], info["lag_ms"]) == (0, 0, 0)
    assert info["bytes"] == sum(info["files"].values()) > 0


def test_init_may_be_repeated(run: Run) -> None:
    """A database that is there stays as it is."""
    append("sqlite:///x.db", Reading("d1", "p1", POWER, NOON_MS, 1000.0))
    run("rollup", "--store", "sqlite:///x.db")

    assert run("db", "init", "--store", "sqlite:///x.db").code == 0
    assert json.loads(run("db", "info", "--store", "sqlite:///x.db", "--json").out)["devices"] == 1


def test_info_for_people(run: Run) -> None:
    """Heaters, freshness, what waits, and the size by kind of file."""
    append("sqlite:///x.db", Reading("d1", "p1", POWER, NOON_MS, 1000.0))
    before = run("db", "info", HEATFLEET_STORE="sqlite:///x.db").out
    run("rollup", HEATFLEET_STORE="sqlite:///x.db")
    after = run("db", "info", HEATFLEET_STORE="sqlite:///x.db").out

    assert "none yet: no rollup has run" in before
    assert "s behind" in before
    assert "heaters    1\n" in after
    assert "waiting    nothing\n" in after
    assert " UTC\n" in after
    assert "journal" in after
    assert "readings" in after


def test_a_rollup_by_hand_makes_room_and_info_tells_of_it(run: Run) -> None:
    """Days beyond the ages that the last server had are archived and removed; its settings are not asked again."""
    said = [Reading("d1", "p1", POWER, NOON_MS + day * DAY_MS, 1000.0) for day in range(8)]
    with closing(open_store("sqlite:///x.db", ages=Ages(retention_days=4, archive_after_days=2))) as store:
        store.append([Block.of(said)], received_ms=NOON_MS)
    before = run("db", "info", HEATFLEET_STORE="sqlite:///x.db").out
    run("rollup", HEATFLEET_STORE="sqlite:///x.db")
    after = run("db", "info", HEATFLEET_STORE="sqlite:///x.db").out
    info = json.loads(run("db", "info", "--store", "sqlite:///x.db", "--json").out)

    assert "readings   all kept\n" in before
    assert "readings   kept since 2024-11-28" in after
    assert NOON_MS // DAY_MS * DAY_MS + 2 * DAY_MS == info["kept_from_ms"]
    assert "  archived (3 files)\n" in after
    assert "  readings (3 files)\n" in after


def test_info_without_a_database_says_how_to_make_one(run: Run) -> None:
    """It does not make one by looking."""
    refused = run("db", "info")

    assert refused.code == ExitCode.CONFIGURATION
    assert "heatfleet db init" in refused.err
    assert not Path("var").exists()


@pytest.mark.parametrize("url", ["postgres://x/y", "x.db", "sqlite://x.db"])
def test_store_that_is_none_says_which_exist(url: str, run: Run) -> None:
    """An unknown scheme or a malformed URL is a matter of configuration."""
    refused = run("db", "init", "--store", url)

    assert refused.code == ExitCode.CONFIGURATION
    assert "sqlite:///" in refused.err


def test_init_calls_nothing_ready_that_it_did_not_see(run: Run) -> None:
    """A server starts while BigQuery is away; who makes things ready is told that it is."""
    refused = run("db", "init", "--store", "bigquery://project/dataset?rest=127.0.0.1:1&grpc=127.0.0.1:1")

    assert refused.code == ExitCode.TRY_AGAIN
    assert "BigQuery did not answer" in refused.err
    assert "ready" not in refused.out


def test_rollup_tells_what_it_did(run: Run) -> None:
    """Readings taken once are not taken again."""
    run("db", "init")
    append("sqlite:///var/heatfleet.db", Reading("d1", "p1", POWER, NOON_MS, 1000.0))
    first = json.loads(run("rollup", "--json").out)
    again = run("rollup").out

    assert (first["readings"], first["late"]) == (1, 0)
    assert again.startswith("nothing new: the figures count everything up to ")


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 reading rolled up, 0 of them"), (1200, "1,200 readings rolled up")]
)
def test_rollup_counts_for_people(count: int, words: str, run: Run) -> None:
    """One reading is not "1 readings", and thousands are told apart."""
    append("sqlite:///x.db", *(Reading("d1", "p1", POWER, NOON_MS + second * 1000, 1.0) for second in range(count)))

    assert run("rollup", "--store", "sqlite:///x.db").out.startswith(words)


def test_rebuild_gives_the_same_figures(run: Run) -> None:
    """Nothing derived is precious."""
    append("sqlite:///x.db", Reading("d1", "p1", POWER, NOON_MS, 1000.0))
    run("rollup", "--store", "sqlite:///x.db")
    with closing(open_store("sqlite:///x.db", writable=False)) as store:
        before = store.figures()
    rebuilt = run("rollup", "--rebuild", "--store", "sqlite:///x.db")
    with closing(open_store("sqlite:///x.db", writable=False)) as store:
        after = store.figures()

    assert rebuilt.code == 0
    assert before.energy_mj.tolist() == after.energy_mj.tolist() != []
    assert before.slot.tolist() == after.slot.tolist()


def test_every_stands_alone(run: Run) -> None:
    """A loop has no outcome to print, and does not begin by throwing figures away."""
    assert run("rollup", "--every", "1", "--rebuild").code == ExitCode.USAGE
    assert run("rollup", "--every", "0").code == ExitCode.USAGE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_goes_on_until_told_to_stop(number: signal.Signals, run: Run, tmp_path: Path) -> None:
    """New readings are rolled up without being asked again; a signal ends the loop in good order."""
    run("db", "init")
    append("sqlite:///var/heatfleet.db", Reading("d1", "p1", POWER, NOON_MS, 1000.0))
    arguments = [sys.executable, "-m", "heatfleet", "rollup", "--every", "0.1"]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE) as loop:
        give_up_s = time.monotonic() + 20
        while not json.loads(run("db", "info", "--json").out)["devices"] and time.monotonic() < give_up_s:
            time.sleep(0.05)
        loop.send_signal(number)
        _, said = loop.communicate(timeout=20)

    assert (loop.returncode, said) == (0, b"")
    assert json.loads(run("db", "info", "--json").out)["devices"] == 1


def test_orders_may_be_beside_another_file(run: Run) -> None:
    """HEATFLEET_DB moves orders and keys away: a check of the store does not miss them, and a copy says so."""
    apart = {"HEATFLEET_DB": "sqlite:///apart/orders.db"}
    run("db", "init", **apart)
    run("keys", "create", "--scope", "report", "--name", "x", **apart)

    assert Path("apart/orders.db.d/ledger.db").exists()
    assert not Path("var/heatfleet.db.d/ledger.db").exists()
    assert "report" in run("keys", "list", **apart).out
    assert ExitCode.OK == run("db", "check", **apart).code
    assert "not in this copy" in run("db", "backup", "copy", **apart).err
