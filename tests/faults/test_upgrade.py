"""Stores that older versions of Heatfleet left when they were killed become stores of this version; no row is lost.

``stores/<kind>-<version>.tar.gz`` is such a store, of the last version before that kind of file got its next schema.
"""

import re
import shutil
import tarfile
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS, HOUR_MS
from heatfleet.storage import back_up, check_files, open_ledger, open_store
from heatfleet.storage.sqlite import connect
from heatfleet.storage.sqlite.files import StoreFile, store_files
from tests.faults.test_rollup_cut_off import killed_at_statement
from tests.oracle import HOLD_MS, defined, told
from tests.path.expected import expected_report
from tests.serving import RunningServer, message

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = START_MS + 4 * DAY_MS
SAID = [
    Reading(device, "p" if device < "c" else "q", code, START_MS + hour * HOUR_MS, float(hour))
    for hour in range(72)
    for device in "abc"
    for code in (POWER, TEMPERATURE)
][:400]
"""What the old stores were told: the last hundred readings wait in the journal. Besides, three orders."""
GONE = {"ahead"}
"""Tables whose content a later version does not need."""
TOLD_NOW = {"idempotency_key": "key, command_ids ->> 0, used_at_ms"}
"""How the columns of a table are read that a later version has made anew."""
OLD_STORES = sorted((Path(__file__).parent / "stores").glob("*.tar.gz"))

Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture(params=OLD_STORES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def main(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The main file of an old store."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "heatfleet.db"


def databases(main: Path) -> list[StoreFile]:
    return [file for file in store_files(main) if file.is_database]


def version(path: Path) -> int:
    with closing(apsw.Connection(str(path))) as connection:
        return int(connection.pragma("user_version"))


def rows(path: Path, columns: dict[str, str] | None = None) -> tuple[Rows, dict[str, str]]:
    """All rows of all tables, or those columns of the tables or views that are named, and which columns they are."""
    with closing(apsw.Connection(str(path))) as connection:
        if columns is None:
            columns = dict(
                connection.execute(
                    "SELECT t.name, group_concat(c.name, ', ') FROM sqlite_schema t, pragma_table_info(t.name) c"
                    " WHERE t.type = 'table' GROUP BY t.name"
                )
            )
            columns = {name: listed for name, listed in columns.items() if name not in GONE}
        found = {
            name: sorted(connection.execute(f"SELECT {listed} FROM {name}").fetchall(), key=repr)
            for name, listed in columns.items()
        }
    return found, columns


def test_an_old_store_keeps_every_row_wherever_its_upgrade_is_killed(main: Path, tmp_path: Path) -> None:
    """Before any statement of any file's migration: it is of one version or the other, whole; the next one goes on."""
    old = [file for file in databases(main) if version(file.path) < connect.newest_version(file.kind)]
    for file in old:
        before, columns = rows(file.path)
        saved = tmp_path / "saved.db"
        shutil.copy(file.path, saved)  # whole by itself: its last reader has emptied its log
        versions = set()
        number, died = 0, True
        while died:
            number += 1
            shutil.copy(saved, file.path)
            died = killed_at_statement(
                number,
                lambda file=file: connect.open_database(file.path, file.kind, writable=True).close(),  # type: ignore[misc]
            )
            versions.add(version(file.path))
            if version(file.path) == version(saved):
                assert (before, columns) == rows(file.path)
            connect.open_database(file.path, file.kind, writable=True).close()
            now = columns | {name: TOLD_NOW[name] for name in columns.keys() & TOLD_NOW.keys()}
            assert before == rows(file.path, now)[0]
            with closing(apsw.Connection(str(file.path))) as connection:
                assert connection.pragma("integrity_check") == "ok"

        assert versions == {version(saved), connect.newest_version(file.kind)}
        assert number > 10


def test_a_server_goes_on_with_an_old_store(main: Path, tmp_path: Path) -> None:
    """Reports, orders and what waits in the journal are those of before; late readings change figures exactly."""
    server = RunningServer(tmp_path)
    try:
        as_of_ms = server.rollup(NOW_MS).as_of_ms
        assert expected_report(SAID, as_of_ms) == server.client.get("/report").json()
        states = [server.client.get(f"/commands/order-{number}").json()["state"] for number in range(3)]
        assert {"expired", "superseded", "failed"} >= set(states)
        assert states[2] == "failed"

        late = Reading("b", "p", POWER, START_MS + 7 * HOUR_MS + 60_000, 2_222.0)
        told_late = {"code": "instant_power", "time": late.time_ms, "value": late.value}
        body = message("b", told_late)
        body["bizData"]["productId"] = "p"
        assert server.post(body).json()["inserted"] == 1
        as_of_ms = server.rollup(NOW_MS).as_of_ms
        assert expected_report([*SAID, late], as_of_ms) == server.client.get("/report").json()
        assert server.stop() == 0
    finally:
        server.close()
    assert all(version(file.path) == connect.newest_version(file.kind) for file in databases(main))
    assert not [check for check in check_files(server.store_url, figures=True) if not check.sound]


def test_an_old_store_is_backed_up_before_it_is_upgraded(main: Path, tmp_path: Path) -> None:
    """The new program copies and checks it as it is, so that one can go back to the old one; then the copy upgrades."""
    url = f"sqlite:///{main}"
    versions = {file.path.name: version(file.path) for file in databases(main)}
    done = back_up(url, tmp_path / "copy")

    assert versions == {file.path.name: version(file.path) for file in databases(main)}
    assert versions == {file.path.name: version(file.path) for file in databases(done.main)}
    copied = f"sqlite:///{done.main}"
    assert not [check for check in check_files(copied) if not check.sound]
    with closing(open_store(copied, hold_ms=HOLD_MS)) as store, closing(open_ledger(copied)) as ledger:
        store.rollup(NOW_MS)
        assert defined(SAID, NOW_MS) == told(store.figures())
        assert (order := ledger.command("order-2", NOW_MS)) is not None
        assert re.fullmatch("accepted", order.state)


def test_each_kind_of_file_that_has_changed_has_an_old_store() -> None:
    """Whoever adds a schema adds a store of the version before it, so that these tests are about it."""
    script = re.compile(r"([a-z]+)_(\d+)\.sql").fullmatch
    folder = Path(connect.__file__).parent / "schema"
    changed = {
        f"{found[1]}-{int(found[2]) - 1}"
        for path in folder.iterdir()
        if (found := script(path.name)) and int(found[2]) > 1
    }

    assert changed <= {path.name.removesuffix(".tar.gz") for path in OLD_STORES}
