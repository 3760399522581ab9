"""Files of other versions: older ones are brought up to date in one step, newer and foreign ones are left alone."""

import os
import subprocess
import sys
from contextlib import closing
from importlib import resources
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.errors import SetupError
from heatfleet.storage import open_ledger, open_store
from heatfleet.storage.base import DeviceFilter
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import connect, journal
from heatfleet.storage.sqlite.main_file import setting
from tests.faults.test_rollup_cut_off import killed_at_statement
from tests.oracle import HOLD_MS, defined, told
from tests.serving import clean_environment, free_port

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = START_MS + 4 * DAY_MS
SAID = [
    Reading(device, "p", code, START_MS + hour * HOUR_MS, float(hour))
    for hour in range(72)
    for device in "ab"
    for code in (POWER, TEMPERATURE)
]
ONE_MORE = """
CREATE TABLE one_more (id INTEGER PRIMARY KEY, body TEXT) STRICT;
INSERT INTO one_more VALUES (1, 'first'), (2, 'second');
CREATE INDEX one_more_body ON one_more (body);
UPDATE one_more SET body = body || '!';
"""
KINDS = sorted(
    {script.name.split("_")[0] for script in (resources.files("heatfleet.storage.sqlite") / "schema").iterdir()}
)
KNOWN = {kind: connect.newest_version(kind) for kind in KINDS}
"""The newest schema version of each kind of file."""
NEVER_MS = -(1 << 62)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with figures, readings of two days in place, and more in three files of its journal."""
    address = f"sqlite:///{tmp_path}/heatfleet.db"
    with closing(open_store(address, hold_ms=HOLD_MS)) as store, monkeypatch.context() as patch:
        store.append([Block.of(SAID[:240])], NOW_MS)
        store.rollup(NOW_MS)
        patch.setattr(journal, "FILE_BYTES_MAX", 0)
        for start in range(240, 300, 20):
            store.append([Block.of(SAID[start : start + 20])], NOW_MS)
    open_ledger(address).close()
    return address


@pytest.fixture
def files(url: str, tmp_path: Path) -> dict[str, list[Path]]:
    """The files of that store, by kind of schema."""
    beside = tmp_path / "heatfleet.db.d"
    with closing(apsw.Connection(str(tmp_path / "heatfleet.db"), flags=apsw.SQLITE_OPEN_READONLY)) as main:
        mark = ("INSERT INTO kept VALUES (0, ?)", (setting(main, "store"),))
    connect.open_database(beside / "carried.db", "carried", writable=True, once=mark).close()
    return {
        "main": [tmp_path / "heatfleet.db"],
        "journal": sorted(beside.glob("journal-*.db")),
        "ledger": [beside / "ledger.db"],
        "day": sorted(beside.glob("readings-*.db")),
        "carried": [beside / "carried.db"],
    }


@pytest.fixture
def newer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heatfleet as it will be when each schema has one more script."""
    scripts_of = connect._scripts
    monkeypatch.setattr(connect, "_scripts", lambda kind: [*scripts_of(kind), ONE_MORE])


def version(path: Path) -> int:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(connection.pragma("user_version"))


def set_version(path: Path, number: int) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", number)


def the_figures_are_right(url: str) -> bool:
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        return defined(SAID, NOW_MS) == told(store.figures()) and all(
            defined([said for said in SAID if said.device_id == device], NOW_MS) == told(store.device_figures(device))
            for device in "ab"
        )


def serve(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `heatfleet serve` says of a store that it cannot open."""
    command = [sys.executable, "-m", "heatfleet", "serve", "--store", url, "--port", str(free_port())]
    return subprocess.run(
        command, cwd=folder, env=clean_environment(), timeout=60, text=True, capture_output=True, check=False
    )


def test_an_older_store_is_brought_up_to_date_by_a_server(
    url: str, files: dict[str, list[Path]], newer_program: None
) -> None:
    """A newer server migrates every kind of file it finds; readings, figures and what waits stay as they are."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as store, closing(open_ledger(url)):
        store.rollup(NOW_MS)

    assert set(KINDS) == set(files)
    assert the_figures_are_right(url)
    there = {kind: [path for path in paths if path.exists()] for kind, paths in files.items()}
    assert {kind: {known + 1} for kind, known in KNOWN.items()} == {
        kind: {version(path) for path in paths} for kind, paths in there.items()
    }


def test_a_main_file_of_the_first_version_keeps_its_devices(url: str, files: dict[str, list[Path]]) -> None:
    """Names and states of devices, also of one that was only numbered, come through the parting of their table."""
    path = files["main"][0]
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        before = store.devices(DeviceFilter(), now_ms=NOW_MS)
    make_it_the_first_version(path)
    said = Reading("numbered", "p", POWER, NOW_MS - 1, 1.0)
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        assert before == store.devices(DeviceFilter(), now_ms=NOW_MS)
        assert store.device("numbered") is None
        store.append([Block.of([said])], NOW_MS)
        store.rollup(NOW_MS)

        assert [1, 2, 3] == numbers_heard(path)
    assert version(path) == KNOWN["main"]
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        assert defined([*SAID[:300], said], NOW_MS) == told(store.figures())


def make_it_the_first_version(path: Path) -> None:
    """Turn a main file back into what the first Heatfleet wrote, with one device that was numbered and not heard."""
    with closing(apsw.Connection(":memory:")) as first:
        first.execute(connect._scripts("main")[0])
        old = [
            first.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).get for name in ("device", "ahead")
        ]
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("DROP VIEW device")
        connection.execute(";".join(map(str, old)))
        connection.execute("INSERT INTO ahead VALUES (1, 0, 1, 1, 1, 1)")
        connection.execute(
            "INSERT INTO device SELECT id, name, product, first_ms, last_ms, power_w, power_ms, temperature_c,"
            " temperature_ms FROM device_name JOIN device_state ON device = id"
        )
        connection.execute(
            "INSERT INTO device (name, product, first_ms, last_ms) VALUES ('numbered', 0, ?, ?)",
            (-NEVER_MS, NEVER_MS),
        )
        connection.execute("DROP TABLE device_name; DROP TABLE device_state")
    set_version(path, 1)


def numbers_heard(path: Path) -> object:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return connection.execute("SELECT device FROM device_state ORDER BY device").get


def test_an_older_store_is_not_changed_by_looking(url: str, newer_program: None) -> None:
    """Who only reads is told to have it brought up to date, and by which command."""
    known = KNOWN["main"]
    with pytest.raises(SetupError, match=f"older schema version {known}.*heatfleet db init.*{known + 1}"):
        open_store(url, hold_ms=HOLD_MS, writable=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_file_is_refused(kind: str, url: str, files: dict[str, list[Path]], tmp_path: Path) -> None:
    """The server ends with 78, names both versions and what to do, and leaves the file as it is."""
    path = files[kind][-1]
    set_version(path, 77)
    before = path.read_bytes()
    refused = serve(url, tmp_path)

    assert refused.returncode == 78
    assert f"schema version 77, this Heatfleet knows {KNOWN[kind]}: use a newer Heatfleet" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert before == path.read_bytes()


@pytest.mark.parametrize("user_version", [0, 1, 2])
def test_a_database_of_another_program_is_refused(user_version: int, tmp_path: Path) -> None:
    """It is not ours, whatever version it gives itself: exit code 78, and not a byte of it changes."""
    path = tmp_path / "photos.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE photo (id INTEGER PRIMARY KEY, body BLOB)")
    set_version(path, user_version)
    before = path.read_bytes()
    refused = serve(f"sqlite:///{path}", tmp_path)

    assert refused.returncode == 78
    assert "Traceback" not in refused.stderr
    assert before == path.read_bytes()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A path that names, say, a letter is answered with one line, and the letter stays as it is."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    refused = serve(f"sqlite:///{path}", tmp_path)

    assert refused.returncode in (75, 78)
    assert "letter.txt" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert path.read_text() == "Dear Sir or Madam, " * 100


@pytest.mark.parametrize("kind", KNOWN)
def test_a_migration_that_is_cut_off_leaves_the_old_or_the_new(
    kind: str, files: dict[str, list[Path]], newer_program: None
) -> None:
    """Killed before any statement, the file has one version or the other, whole; the next one to open it goes on."""
    path = files[kind][0]
    outcomes = []
    for number in range(1, 40):
        set_version(path, KNOWN[kind])
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("DROP TABLE IF EXISTS one_more")
        died = killed_at_statement(number, lambda: connect.open_database(path, kind, writable=True).close())
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'one_more%'").get
            outcomes.append((died, connection.pragma("user_version"), tables))
        connect.open_database(path, kind, writable=True).close()
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            assert connection.execute("SELECT body FROM one_more").get == ["first!", "second!"]
        if not died:
            break

    known = KNOWN[kind]
    assert outcomes[-1] == (False, known + 1, 2)
    assert {(True, known, 0)} == set(outcomes[:-1]) - {(True, known + 1, 2)}
    assert len(outcomes) > 5


def test_a_creation_that_is_cut_off_is_made_good(tmp_path: Path) -> None:
    """Killed before any statement while it makes a new store, a server makes it whole the next time."""
    deaths = 0
    for number in range(1, 60, 4):
        url = f"sqlite:///{tmp_path}/{number}/heatfleet.db"

        def make(address: str = url) -> None:
            open_store(address, hold_ms=HOLD_MS).close()
            open_ledger(address).close()

        deaths += killed_at_statement(number, make)
        make()
        with closing(open_store(url, hold_ms=HOLD_MS)) as store:
            store.append([Block.of(SAID)], NOW_MS)
            store.rollup(NOW_MS)
        assert the_figures_are_right(url)
    assert deaths > 10


def test_many_that_open_an_older_file_at_once_migrate_it_once(
    files: dict[str, list[Path]], newer_program: None
) -> None:
    """The first does it, the others wait for it and find it done."""
    path = files["main"][0]
    children: list[int] = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            try:
                connect.open_database(path, "main", writable=True).close()
            except BaseException:  # noqa: BLE001 - the child must not run pytest's own ending
                os._exit(1)
            os._exit(0)
        children.append(child)

    assert [0] * 8 == [os.waitpid(child, 0)[1] for child in children]
    assert version(path) == KNOWN["main"] + 1
