"""The power is cut at any write of our own group commit, of a rollup, of files being made: nothing answered is lost.

A kill shows no missing sync, because the kernel still writes what a dead process left. ``tests/platter.py`` does not.
"""

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.errors import HeatfleetError, Refused
from heatfleet.ingest import Ingest
from heatfleet.metrics import Metrics
from heatfleet.storage import open_store
from heatfleet.storage.sqlite import connect, journal
from tests.figures import Figure
from tests.kept import damage_in, kept_readings
from tests.oracle import HOLD_MS, defined, told
from tests.platter import Files, Platter, mounted_platter

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
LATER_MS = START_MS + 30 * 24 * 3_600_000
CLIENTS = 6
KINDS = ("journaldb", "heatfleetdb", "readings")
"""The files that are being written at a cut, by how the letters of their names begin."""
LIVES_OF_A_STORE = 4
"""So often one store's power is cut, and it goes on with what was found; then a new one is made."""


@dataclass
class Book:
    """What happened, in all lives of all stores."""

    cuts: int = 0
    answered: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    cut_at: Counter[str] = field(default_factory=Counter)
    """How often which kind of file was being written: its letters."""


class Life:
    """A server and its rollup over one store, until the power goes, and again over what is then found."""

    def __init__(self, store_path: Path, platter: Platter, dice: random.Random) -> None:
        self.url = f"sqlite:///{store_path}"
        self._platter = platter
        self._dice = dice
        self.sent: list[Reading] = []
        self.answered: list[Reading] = []
        self.sure: list[Reading] = []
        self.refusals: list[Refused] = []
        self.cut_at = ""

    def at_cut(self, path: str) -> None:
        """Note what an answer was given for by now."""
        self.sure = self.answered.copy()
        self.cut_at = "".join(filter(str.isalpha, Path(path).name))

    async def live(self) -> None:
        """Clients talk and rollups run, until the power is cut."""
        self.answered = self.sure.copy()
        with closing(open_store(self.url, hold_ms=HOLD_MS)) as store:
            ingest = Ingest(store, readings_max=10_000, clock=self._now_ms, metrics=Metrics())
            for _ in range(CLIENTS):
                self._talk(ingest)
            await asyncio.to_thread(self._roll_up)
            await ingest.close()

    def _talk(self, ingest: Ingest) -> None:
        """One client: the next request follows the answer to the last one."""
        request = self._words()
        self.sent += request

        def done(error: Refused | None) -> None:
            if error is not None:
                self.refusals.append(error)
                return
            self.answered.extend(request)
            if not self._platter.is_cut:
                self._talk(ingest)

        ingest.put(request, done)

    def _roll_up(self) -> None:
        with closing(open_store(self.url, hold_ms=HOLD_MS, writable=False)) as store:
            while not self._platter.is_cut:
                store.rollup(self._now_ms())

    def _now_ms(self) -> int:
        return START_MS + len(self.sent) * 60_000

    def _words(self) -> list[Reading]:
        """A few readings that nobody sent before: of now, late, or early; and now and then an old one."""
        about_ms = self._now_ms()
        words = [
            Reading(
                self._dice.choice("abcde"),
                self._dice.choice("ppppq"),
                self._dice.choice([POWER, TEMPERATURE]),
                about_ms + self._dice.choice([0, 0, 0, -7_170_000, 7_190_000]) + number,
                float(self._dice.randrange(60)),
            )
            for number in range(self._dice.choice([1, 1, 2, 10]))
        ]
        old = self._dice.choices(self.sent, k=1) if self.sent and self._dice.random() < 0.1 else []
        return words + old


def cut_again_and_again(platter: Platter, folder: Path, dice: random.Random, cuts: int) -> Book:
    """Cut the power so often, and look at what is found after each cut."""
    book = Book()
    while book.cuts < cuts:
        store_path = folder / f"store-{book.cuts}" / "heatfleet.db"
        life = Life(store_path, platter, dice)
        files: Files = {}
        for _ in range(LIVES_OF_A_STORE):
            put_back(files, store_path.parent)
            before = len(life.sure)
            cut_after = dice.randrange(1, dice.choice([30, 100, 400]))
            platter.spin(files, dice, cut_after=cut_after, at_cut=life.at_cut)
            asyncio.run(life.live())
            assert [] == life.refusals
            files = platter.found
            book.cuts += 1
            book.cut_at[life.cut_at] += 1
            examine(files, life, store_path, book)
            book.answered += len(life.sure) - before
            if book.wrong:
                break
        shutil.rmtree(store_path.parent)
    return book


def put_back(files: Files, folder: Path) -> None:
    """The disk holds just these files."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "heatfleet.db.d").mkdir(parents=True)
    for path, content in files.items():
        Path(path).write_bytes(content)


def examine(files: Files, life: Life, store_path: Path, book: Book) -> None:
    """Open what was found as a server does, roll up, and compare with what was answered for and with the definition."""
    put_back(files, store_path.parent)
    try:
        with closing(open_store(life.url, hold_ms=HOLD_MS)) as store:
            store.rollup(LATER_MS)
            kept = kept_readings(store_path)
            if defined(kept, LATER_MS) != told(store.figures()):
                book.wrong.append("the figures are not those of the definition")
    except (HeatfleetError, apsw.Error) as error:
        book.wrong.append(str(error))
        return
    book.wrong += damage_in(store_path)
    book.lost += len(set(life.sure) - kept)
    life.sure = [reading for reading in life.sure if reading in kept]  # each is lost once
    if kept - set(life.sent):
        book.wrong.append("something is kept that nobody sent")


@pytest.fixture
def platter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platter]:
    """The disk, for all stores opened meanwhile; files are small, so that all that happens to them happens often."""

    def in_short(connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(20)

    monkeypatch.setattr(journal, "FILE_BYTES_MAX", 2_000)
    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, in_short])
    with mounted_platter(monkeypatch) as mounted:
        yield mounted


def expect_all_kept(platter: Platter, folder: Path, figure: Figure, *, seed: int, cuts: int) -> None:
    book = cut_again_and_again(platter, folder, random.Random(seed), cuts)
    assert (0, []) == (book.lost, book.wrong), f"seed {seed}: {book}"
    assert book.answered > cuts
    assert all(any(name.startswith(kind) for name in book.cut_at) for kind in KINDS)
    figure("D2", "power cuts", book.cuts)
    figure("D2", "readings answered for", book.answered)
    figure("D2", "of these lost, or files damaged", book.lost)


def test_what_was_answered_for_survives_power_cuts(platter: Platter, tmp_path: Path, figure: Figure) -> None:
    """200 cuts, anywhere: every answered reading is there, no file is damaged, and figures are the definition's."""
    expect_all_kept(platter, tmp_path, figure, seed=1, cuts=200)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_what_was_answered_for_survives_many_power_cuts(platter: Platter, tmp_path: Path, figure: Figure) -> None:
    """The same with 1,000 cuts, at other places each time that it is run."""
    expect_all_kept(platter, tmp_path, figure, seed=random.SystemRandom().randrange(1 << 32), cuts=1000)


def test_with_fewer_syncs_answered_readings_would_be_lost(
    platter: Platter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The same cuts find readings missing when SQLite does not sync at each commit: these tests would notice."""
    make_durable = connect._make_durable

    def less_durable(connection: apsw.Connection, path: Path) -> None:
        make_durable(connection, path)
        connection.pragma("synchronous", "NORMAL")

    monkeypatch.setattr(connect, "_make_durable", less_durable)
    book = cut_again_and_again(platter, tmp_path, random.Random(2), cuts=40)

    assert book.lost > 0
    figure("D2", "with synchronous=NORMAL: power cuts", book.cuts)
    figure("D2", "with synchronous=NORMAL: readings lost that were answered for", book.lost)


def test_with_a_disk_that_lies_answered_readings_would_be_lost(platter: Platter, tmp_path: Path) -> None:
    """The same with a disk that says of a sync that it was done, and does nothing."""
    platter.swallows_syncs = True
    book = cut_again_and_again(platter, tmp_path, random.Random(3), cuts=20)

    assert book.lost > 0 or book.wrong
