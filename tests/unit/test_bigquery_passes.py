"""How a rollup in BigQuery divides the time that it takes in."""

from datetime import UTC, datetime

from heatfleet.domain.slots import DAY_MS
from heatfleet.storage.bigquery.head import Head
from heatfleet.storage.bigquery.reckoner import DAYS_MAX, parts
from heatfleet.storage.bigquery.store import Waiting

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def test_no_pass_takes_in_more_days_than_bigquery_changes_at_a_time() -> None:
    """Not even of devices that are new, which say nothing late; and no day is left out or taken in twice."""
    days = [(day, 1, 0, 0) for day in range(12_000, 12_000 + 2 * DAYS_MAX + 100)]
    end_ms = 20_000 * DAY_MS
    spans = list(parts(0, days, end_ms))

    assert (0, end_ms) == (spans[0][0], spans[-1][1])
    assert [until for _, until in spans[:-1]] == [since for since, _ in spans[1:]]
    counts = [sum(since <= day * DAY_MS < until for day, *_ in days) for since, until in spans]
    assert len(days) == sum(counts)
    assert max(counts) <= DAYS_MAX


def test_late_words_far_apart_are_taken_in_one_after_the_other() -> None:
    """What lies between them is not read."""
    days = [(12_000, 5, 1, 1), (12_001, 5, 0, 0), (12_400, 5, 1, 1)]

    assert [(0, 12_001 * DAY_MS), (12_001 * DAY_MS, 13_000 * DAY_MS)] == list(parts(0, days, 13_000 * DAY_MS))


def head(taken_until_ms: int) -> Head:
    return Head(1, 0, 0, datetime.fromtimestamp(taken_until_ms / 1000, UTC), NEVER, 0, 0, 0, "", NEVER)


def test_a_server_knows_since_when_its_appends_wait() -> None:
    """Since the first that no rollup has taken; of several that were taken in part, since then; of none, not at all."""
    waiting = Waiting()

    assert waiting.since_ms(head(0)) is None

    for received_ms in (5_000, 7_000):
        waiting.appended(received_ms)

    assert 5_000 == waiting.since_ms(head(1_000))
    assert 6_000 == waiting.since_ms(head(6_000))
    assert waiting.since_ms(head(7_000)) is None

    waiting.appended(9_000)

    assert 9_000 == waiting.since_ms(head(7_000))
