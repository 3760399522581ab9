"""Archived days: whole in themselves, checked before they are trusted, and optional."""

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS
from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.storage import open_store
from heatfleet.storage.base import Ages
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite import archive, room
from heatfleet.storage.sqlite.columns import Readings
from tests.contract.test_retention import NOW_MS, START_MS, make_room
from tests.oracle import HOLD_MS, defined, told

AGES = Ages(archive_after_days=1)
SAID = [
    Reading("b", "p2", POWER, START_MS + 1, 1500.5),
    Reading("b", "p2", TEMPERATURE, START_MS + 1, 19.25),
    Reading("b", "p1", POWER, START_MS + DAY_MS - 1, 0.0),
    Reading("a", "p1", TEMPERATURE, START_MS + 5, -3.0),
    Reading("a", "p1", POWER, NOW_MS - 1, 1.0),
]


def archived(folder: Path) -> Path:
    """A store with one archived day, and the Parquet file."""
    with closing(open_store(f"sqlite:///{folder}/heatfleet.db", hold_ms=HOLD_MS, ages=AGES)) as store:
        store.append([Block.of(SAID)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)
    return folder / "heatfleet.db.d" / "readings-2024-11-26.parquet"


def test_an_archive_tells_all_by_itself(tmp_path: Path) -> None:
    """Any Parquet tool finds every reading, with names and instants, in order of device and time."""
    rows = pq.read_table(archived(tmp_path)).to_pylist()
    b, a = (min(row["device"] for row in rows if row["device_id"] == name) for name in "ba")

    assert sorted(
        [
            ("b", "p2", "instant_power", 1, 1500.5, b),
            ("b", "p2", "temp_interior", 1, 19.25, b),
            ("b", "p1", "instant_power", DAY_MS - 1, 0.0, b),
            ("a", "p1", "temp_interior", 5, -3.0, a),
        ],
        key=lambda row: (row[5], row[3], row[2]),
    ) == [
        (
            row["device_id"],
            row["product_id"],
            row["code"],
            (row["time"] - datetime(2024, 11, 26, tzinfo=UTC)).total_seconds() * 1000,
            row["value"],
            row["device"],
        )
        for row in rows
    ]


def test_the_day_file_stays_until_its_archive_was_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is not what was written is named, and nothing is deleted for it."""
    marks = iter(range(100))
    with monkeypatch.context() as broken:
        broken.setattr(room, "checksum", lambda readings: (len(readings), next(marks)))
        with pytest.raises(StoreUnavailable, match="was not read back"):
            archived(tmp_path)
    plain = tmp_path / "heatfleet.db.d" / "readings-2024-11-26.db"

    assert plain.exists()
    assert archived(tmp_path).exists()
    assert not plain.exists()


def test_late_readings_do_not_hold_an_archive_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes for a day while it is archived, piece by piece, waits beside it; the archive is made once, whole."""
    monkeypatch.setattr(room, "ROWS_A_GROUP", 1)
    said = [one._replace(device_id=f"{one.device_id}{number}") for number in range(70) for one in SAID]
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db", hold_ms=HOLD_MS, ages=AGES)) as store:
        store.append([Block.of(said)], NOW_MS)
        store.rollup(NOW_MS)
        pieces = 0
        while store.make_room() and pieces < 300:
            late = Reading(f"b{pieces % 70}", "p1", TEMPERATURE, START_MS + pieces * 1000 + 7, 30.0)
            store.append([Block.of([late])], NOW_MS)
            store.rollup(NOW_MS)
            said.append(late)
            pieces += 1
        devices = {one.device_id for one in said[::9]}

        assert 140 < pieces < 300
        assert ["late-2024-11-26.db", "readings-2024-11-26.parquet"] == sorted(
            path.name
            for path in (tmp_path / "heatfleet.db.d").glob("*2024-11-26.*")
            if path.suffix in {".db", ".parquet"}
        )
        assert [defined([one for one in said if one.device_id == device], NOW_MS) for device in devices] == [
            told(store.device_figures(device)) for device in devices
        ]


def test_one_process_at_a_time_makes_room(tmp_path: Path) -> None:
    """While one is at it, another leaves it alone; when the other rolls up, the first stops, and begins anew later."""
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    archive_path = tmp_path / "heatfleet.db.d" / "readings-2024-11-26.parquet"
    with (
        closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as server,
        closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as by_hand,
    ):
        server.append([Block.of(SAID)], NOW_MS)
        server.rollup(NOW_MS)

        assert server.make_room()
        assert not by_hand.make_room()

        late = Reading("b", "p1", POWER, START_MS + 3_000_000, 700.0)
        server.append([Block.of([late])], NOW_MS)
        by_hand.rollup(NOW_MS)
        make_room(by_hand)

        assert not archive_path.exists()
        assert not server.make_room()

        make_room(server)

        assert archive_path.exists()
        assert defined([one for one in [*SAID, late] if one.device_id == "b"], NOW_MS) == told(
            server.device_figures("b")
        )


@pytest.mark.parametrize("while_at_it", [True, False])
def test_what_another_process_archived_is_seen(tmp_path: Path, *, while_at_it: bool) -> None:
    """A server that has seen a day's file places nothing in it once another process archives or has archived it."""
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    with (
        closing(open_store(url, hold_ms=HOLD_MS, ages=AGES)) as server,
        closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as by_hand,
    ):
        server.append([Block.of(SAID)], NOW_MS)
        server.rollup(NOW_MS)
        by_hand.rollup(NOW_MS)
        server.rollup(NOW_MS)
        if while_at_it:
            assert by_hand.make_room()
        else:
            make_room(by_hand)
        late = Reading("b", "p1", POWER, START_MS + 3_000_000, 700.0)
        server.append([Block.of([late])], NOW_MS)
        server.rollup(NOW_MS)
        make_room(by_hand)
        make_room(by_hand)
        expected = defined([*SAID, late], NOW_MS)

        assert expected == told(server.figures())
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as later:
        later.rebuild(NOW_MS)

        assert expected == told(later.figures())


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    """A report that needs it says which file to restore; others are given."""
    url = f"sqlite:///{tmp_path}/heatfleet.db"
    path = archived(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with closing(open_store(url, hold_ms=HOLD_MS, writable=False)) as store:
        with pytest.raises(StoreUnavailable, match=r"readings-2024-11-26\.parquet: the file is damaged"):
            store.device_figures("a")

        assert told(store.figures())


def test_archiving_without_its_library_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is to archive does not start without pyarrow; one that is not never asks for it."""
    for name in ("pyarrow.compute", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SetupError, match=r'pip install "heatfleet\[archive\]"'):
        archived(tmp_path)
    with closing(open_store(f"sqlite:///{tmp_path}/heatfleet.db", hold_ms=HOLD_MS, ages=Ages())) as store:
        store.append([Block.of(SAID)], NOW_MS)
        store.rollup(NOW_MS)
        make_room(store)

        assert told(store.device_figures("a"))


def test_the_checksum_hangs_on_every_reading_and_not_on_their_order() -> None:
    """Two values that change places are noticed, rows that change places are not."""
    rows = [(1, 10, 0, 5.0, 1), (1, 20, 0, 6.0, 1), (2, 10, 1, 5.0, 2)]
    swapped = [(1, 10, 0, 6.0, 1), (1, 20, 0, 5.0, 1), (2, 10, 1, 5.0, 2)]
    whole = archive.checksum(Readings.of_rows(rows))

    assert whole == archive.checksum(Readings.of_rows(rows[::-1]))
    assert whole != archive.checksum(Readings.of_rows(swapped))
    assert whole != archive.checksum(Readings.of_rows(rows[:2]))
    assert (0, 0) == archive.checksum(Readings.of_rows([]).take(np.arange(0)))
