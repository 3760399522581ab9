"""A backup made while a server ingests and rolls up is a whole store of one instant, or it is not there."""

import logging
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import httpx2
import pytest

from heatfleet.domain.messages import CODE_NAMES, POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import DAY_MS
from heatfleet.storage import back_up, open_store
from heatfleet.storage.block import Block
from heatfleet.storage.sqlite.days import DayFiles
from heatfleet.storage.sqlite.main_file import setting
from tests.faults.test_backup_cut_off import START_MS, expect_sound
from tests.oracle import defined, told
from tests.path.conftest import WholeServer, wait_until
from tests.serving import message, ndjson

STEP_MS = 11 * 60_000

_log = logging.getLogger(__name__)


@dataclass
class Talker:
    """Speaks for one device, ``size`` messages a request, tells of days within seconds, and now and then is late."""

    device_id: str
    size: int
    asked: list[list[Reading]] = field(default_factory=list)
    answered: list[list[Reading]] = field(default_factory=list)

    def talk(self, base_url: str, stopped: threading.Event) -> None:
        """One request after the other, until told to stop."""
        with httpx2.Client(base_url=base_url, timeout=60, trust_env=False) as client:
            while not stopped.wait(0.05):
                first = len(self.asked) * self.size
                said = [self._said(place) for place in range(first, first + self.size)]
                self.asked.append([reading for pair in said for reading in pair])
                body = ndjson(*(as_message(*pair) for pair in said))
                answer = client.post("/message", content=body, headers={"Content-Type": "application/x-ndjson"})
                assert answer.json() == {"status": "ok", "inserted": 2 * self.size}
                self.answered.append(self.asked[-1])

    def _said(self, place: int) -> tuple[Reading, Reading]:
        time_ms = START_MS + 3 * DAY_MS + place * STEP_MS + int(self.device_id[1:])
        if place % 7 == 3:
            time_ms -= 2 * DAY_MS + 1_000
        power, temperature = float(place % 2_000), place % 300 / 10
        return (
            Reading(self.device_id, "p1", POWER, time_ms, power),
            Reading(self.device_id, "p1", TEMPERATURE, time_ms, temperature),
        )


def as_message(*said: Reading) -> dict[str, object]:
    properties = ({"code": CODE_NAMES[one.code], "time": one.time_ms, "value": one.value} for one in said)
    return message(said[0].device_id, *properties)


@dataclass(frozen=True)
class Copied:
    """A copy of a store, and what had been answered for before it was begun."""

    url: str
    answered: set[Reading]


def flat(requests: Iterable[list[Reading]]) -> set[Reading]:
    return {reading for request in requests for reading in request}


def kept(main: Path) -> set[Reading]:
    """Every reading that is in place; nothing waits after a rollup long after."""
    with closing(apsw.Connection(str(main), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        names = dict(connection.execute("SELECT id, name FROM device_name"))
        products = dict(connection.execute("SELECT id, name FROM product"))
        store = setting(connection, "store")
        assert connection.execute("SELECT count(*) FROM run").get == 0
    with closing(DayFiles(main.with_name(f"{main.name}.d"), store=store, writable=False)) as days:
        return {
            Reading(names[device], products[product], code, time_ms, value)
            for readings in days.everything()
            for device, time_ms, code, value, product in readings.rows()
        }


def expect_whole(copied: Copied, asked: set[Reading], dice: random.Random, *, late: int) -> None:
    """All that was answered for is in it and nothing else; exact after a rollup, and again with some late readings."""
    now_ms = time.time_ns() // 1_000_000
    with closing(open_store(copied.url)) as store:
        store.rollup(now_ms)
        has = kept(Path(copied.url.removeprefix("sqlite:///")))
        as_of_ms = store.figures().as_of_ms

        assert copied.answered <= has <= asked
        assert defined(has, as_of_ms) == told(store.figures())

        if late:
            some = dice.sample(sorted(has), late)
            said = [one._replace(time_ms=one.time_ms - dice.randrange(1, STEP_MS)) for one in some]
            store.append([Block.of(said)], now_ms)
            store.rollup(now_ms)
            assert defined(has.union(said), as_of_ms) == told(store.figures())


@pytest.fixture
def live(tmp_path: Path) -> Iterator[WholeServer]:
    """A server whose rollup is always at work, and which archives all but the newest day or two."""
    folder = tmp_path / "live"
    folder.mkdir()
    server = WholeServer(folder, rollup_every_s=0.3, archive_after_days=2)
    yield server
    server.close()


def back_up_while_talking(live: WholeServer, folder: Path, count: int, dice: random.Random) -> set[Reading]:
    """Make so many backups at moments of chance, look at each; gives all that was asked."""
    talkers = [Talker(f"d{number}", 4 if number % 2 else 1) for number in range(4)]
    copies: list[Copied] = []
    stopped = threading.Event()
    with ThreadPoolExecutor(len(talkers)) as pool:
        talks = [pool.submit(talker.talk, live.base_url, stopped) for talker in talkers]
        try:
            wait_until(
                lambda: all(
                    len(talker.answered) > 3 or talk.done() for talker, talk in zip(talkers, talks, strict=True)
                )
            )
            for number in range(count):
                time.sleep(dice.random() * 0.25)
                answered = flat(request for talker in talkers for request in list(talker.answered))
                done = back_up(live.store_url, folder / str(number))
                copies.append(Copied(f"sqlite:///{done.main}", answered))
                if number % 4 == 0:
                    expect_sound(live.store_url)  # looked at while it changes, it gives no false alarm
        finally:
            stopped.set()
    for talk in talks:
        talk.result()
    asked = flat(request for talker in talkers for request in talker.asked)
    assert live.stop() == 0
    for number, copied in enumerate([Copied(live.store_url, asked), *copies]):
        expect_sound(copied.url, figures=number % 5 == 0)
        expect_whole(copied, asked, dice, late=3 if number % 3 == 0 else 0)
    return asked


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.soak)], ids=["20", "200"])
def test_backups_beside_a_busy_server_have_all_that_was_answered_for(
    count: int, live: WholeServer, tmp_path: Path
) -> None:
    """Each opens, is sound, and reports by the definition, also with late readings; the server is not disturbed."""
    seed = random.SystemRandom().randrange(1 << 32)
    _log.warning("seed %d", seed)
    asked = back_up_while_talking(live, tmp_path / "copies", count, random.Random(seed))

    assert len(asked) > 200
    assert [] == [line for line in live.log() if line["level"] not in ("info", "debug")]
