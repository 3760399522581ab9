"""What a fleet costs: the arithmetic, and that its sizes are those of the tables."""

import json
from dataclasses import replace

import pytest
import sqlglot
from sqlglot import exp

from heatfleet.domain import cost
from heatfleet.domain.commands import Command
from heatfleet.domain.cost import GIB, TIB, Prices, Usage, reckon, row_bytes
from heatfleet.storage.bigquery import bring_up
from tests.serving import SEED_MESSAGE

FLEET = Usage(2_000_000, 500)
BYTES_BY_TYPE = {"BIGINT": 8, "DOUBLE": 8, "TIMESTAMPTZ": 8, "INT": 8, "INT64": 8, "FLOAT64": 8, "TIMESTAMP": 8}


def amounts(usage: Usage, prices: Prices | None = None) -> dict[str, float]:
    """So much a day of each thing."""
    return {line.what: line.amount for line in reckon(usage, prices or Prices())}


def columns() -> dict[str, dict[str, str]]:
    """The type of each column of each table."""
    tables = {}
    for sql in bring_up.scripts().values():
        for statement in sqlglot.parse(sql, read="bigquery"):
            if isinstance(statement, exp.Create):
                kinds = {one.name: str(one.args["kind"].this.value) for one in statement.find_all(exp.ColumnDef)}
                tables[statement.this.this.name] = kinds
    return tables


@pytest.mark.parametrize("table", sorted(cost.VALUE_COLUMNS))
def test_sizes_are_those_of_the_tables(table: str) -> None:
    """By BigQuery's own way to count: 8 bytes a number or time, 2 and its bytes a text."""
    if table not in columns():
        pytest.skip("not there yet")
    kinds = columns()[table].values()
    counted = sum(2 + 10 if kind == "TEXT" else BYTES_BY_TYPE[kind] for kind in kinds)

    assert counted == row_bytes(table, device_id_bytes=10, product_id_bytes=10)


def test_a_day_of_the_fleet() -> None:
    """Two million devices with 500 messages a day, by hand."""
    found = amounts(FLEET)

    assert found["messages of devices"] == 1_000_000_000
    assert found["appended to BigQuery"] == pytest.approx(1e9 * 82 / GIB)
    assert found["kept, newest 90 days"] == pytest.approx(90 * 1e9 * 66 / GIB)
    assert found["kept, 275 days before"] == pytest.approx(275 * 1e9 * 66 / GIB)
    assert found["orders by Pub/Sub"] == pytest.approx(8e6 * 1220 / TIB)


def test_a_rollup_reads_the_last_hour_and_a_half_and_every_device() -> None:
    """96 times a day, whatever is new, and each table as often as its statements say."""
    arrivals, new = (1e9 / 86_400 * seconds for seconds in (3600 + 900 + 1800, 900))
    once = {
        "stamps": arrivals * 16,
        "arrival": arrivals * 82,
        "news": new * 100,
        "device": 2e6 * (11 * 8 + 2 + 22 + 2 + 16),
        "work": 2e6 * 100,
        "small": 10 * 2**20,
    }

    expected = 96 * sum(cost.READS[table] * amount for table, amount in once.items())
    assert amounts(FLEET)["scanned by rollups"] == pytest.approx(expected / TIB)


def test_late_words_read_the_days_around_them() -> None:
    """All of yesterday and half of today on average, as often as a rollup finds a late word."""
    assert amounts(FLEET)["scanned for late words"] == pytest.approx(96 * 1.5 * 1e9 * 66 / TIB)
    assert amounts(replace(FLEET, late_rollups=0.25))["scanned for late words"] == pytest.approx(24 * 99e9 / TIB)
    assert amounts(replace(FLEET, late_rollups=0))["scanned for late words"] == 0


def test_the_least_that_is_billed() -> None:
    """A small fleet pays ten MiB for each table that a query reads."""
    found = amounts(Usage(1, 1, rollup_every_s=86_400, reports=1, products=1))

    assert found["scanned by rollups"] == pytest.approx(sum(cost.READS.values()) * 10 * 2**20 / TIB)
    assert found["scanned by reports"] == pytest.approx(3 * 10 * 2**20 / TIB)


@pytest.mark.parametrize(("way", "read_bytes"), [("pull", 268), ("push", 1000)])
def test_messages_through_pubsub(way: cost.Way, read_bytes: int) -> None:
    """They are paid for when published and when handed out; a push carries one, and counts for a thousand bytes."""
    assert amounts(replace(FLEET, way=way))["messages by Pub/Sub"] == pytest.approx(1e9 * (268 + read_bytes) / TIB)
    assert "messages by Pub/Sub" not in amounts(FLEET)


def test_a_price_is_a_factor() -> None:
    """Twice the price is twice the cost, and no price costs nothing."""
    once, twice = Prices(1, 1, 1, 1, 1), Prices(2, 2, 2, 2, 2)

    assert [2 * line.cost for line in reckon(FLEET, once)] == [line.cost for line in reckon(FLEET, twice)]
    assert {line.cost for line in reckon(FLEET, Prices(0, 0, 0, 0, 0))} == {0}


def test_nothing_is_kept_longer_than_asked() -> None:
    """Fewer days than the long term begins with have no second part."""
    assert amounts(replace(FLEET, kept_days=30))["kept, 0 days before"] == 0


def test_sizes_of_messages_are_those_of_messages() -> None:
    """The constants are within a tenth of what a message and an order come to."""
    message = json.loads(SEED_MESSAGE)
    order = Command("0" * 26, message["bizData"]["devId"], None, switch=True, issued_at_ms=1, expires_at_ms=2)
    attributes = sum(len(name) + len(value) for name, value in order.attributes().items())
    around = len(order.device_id) + 20 + 17  # the key, the time, an id of 17 digits
    ordered = len(json.dumps(order.message())) + attributes + around
    told = len(json.dumps(message, separators=(",", ":"))) + 20 + 17

    assert cost.ORDER_BYTES == pytest.approx(ordered, rel=0.1)
    assert cost.MESSAGE_BYTES == pytest.approx(told, rel=0.1)
