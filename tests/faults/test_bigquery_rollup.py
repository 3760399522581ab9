"""A rollup inside BigQuery that ends in the midst is made good by the next, and two never work at once."""

from collections.abc import Sequence
from contextlib import closing

import pytest

from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS
from heatfleet.errors import AnotherRollup, StoreUnavailable
from heatfleet.storage import open_store
from heatfleet.storage.bigquery.address import Address
from heatfleet.storage.bigquery.connect import query_client
from heatfleet.storage.bigquery.queries import ROLLUP, Queries, Row
from heatfleet.storage.bigquery.reckoner import Reckoner
from heatfleet.storage.bigquery.setup import create_tables
from heatfleet.storage.block import Block
from tests.bigquery_server.running import BigQueryServer
from tests.oracle import HOLD_MS, defined, told

MIDNIGHT_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
NOW_MS = MIDNIGHT_MS + 30 * HOUR_MS
QUERIES_MAX = 20


@pytest.fixture
def url(bigquery_server: BigQueryServer) -> str:
    """The address of an empty store."""
    url = bigquery_server.address.url(bigquery_server.dataset())
    with query_client(Address.of(url)) as client:
        create_tables(client, Address.of(url))
    return url


def queries_of(url: str) -> Queries:
    return Queries(query_client(Address.of(url)), Address.of(url))


def test_two_rollups_are_never_at_work(url: str) -> None:
    """Whoever comes while one is at work is told so, and changes nothing; afterwards it may go ahead."""
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        store.append([Block.of([Reading("a", "p", POWER, MIDNIGHT_MS, 1000.0)])], NOW_MS)
        with Reckoner(queries_of(url), HOLD_MS):
            with pytest.raises(AnotherRollup, match="try again"):
                store.rollup(NOW_MS)
            with pytest.raises(AnotherRollup, match="try again"):
                store.rebuild(NOW_MS)

            assert [] == told(store.figures())

        assert 1 == store.rollup(NOW_MS).readings


def story(chapter: int) -> Sequence[Reading]:
    """What is new before the rollup of this number: some goes on, some comes late, and a device is new."""
    at_ms = MIDNIGHT_MS + chapter * HOUR_MS
    return [
        Reading("goes-on", "p", POWER, at_ms, 100.0 + chapter),
        Reading("late", "p", POWER, at_ms - 90 * 60_000, 300.0 + chapter),
        Reading("late", "p", TEMPERATURE, at_ms, 18.5),
        Reading(f"new-{chapter}", "q", POWER, at_ms, 700.0),
    ]


def test_a_rollup_that_ends_at_any_query_is_made_good_by_the_next(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost and nothing counts twice, wherever it ended, whether or not the query was done."""
    run = Queries.run
    everything: list[Reading] = []
    with closing(open_store(url, hold_ms=HOLD_MS)) as store:
        for chapter in range(2 * QUERIES_MAX):
            asked, last, is_done = 0, chapter // 2, chapter % 2

            def dying(self: Queries, text: str, *rest: object, **values: object) -> Sequence[Row]:
                nonlocal asked
                asked += 1
                if asked <= last:  # noqa: B023
                    return run(self, text, *rest, **values)  # type: ignore[arg-type]
                if asked == last + 1 and is_done:  # noqa: B023
                    run(self, text, *rest, **values)  # type: ignore[arg-type]
                raise StoreUnavailable("the line is dead")

            everything += story(chapter)
            store.append([Block.of(story(chapter))], NOW_MS)
            with monkeypatch.context() as patch:
                patch.setattr(Queries, "run", dying)
                try:
                    store.rollup(NOW_MS)
                except StoreUnavailable:
                    ended = False
                else:
                    ended = True
            monkeypatch.undo()
            queries_of(url).run("UPDATE head SET lease_until = TIMESTAMP_SECONDS(0) WHERE TRUE", ROLLUP)
            store.rollup(NOW_MS)

            assert defined(everything, NOW_MS) == told(store.figures()), (last, is_done)
            assert defined([r for r in everything if r.device_id == "late"], NOW_MS) == told(
                store.device_figures("late")
            )
            if ended:
                return
    pytest.fail(f"a rollup asks more than {QUERIES_MAX} queries")
