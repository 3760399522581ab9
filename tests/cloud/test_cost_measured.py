"""What a run of a simulated fleet comes to in BigQuery, counted there, against what `heatfleet cloud cost` reckons."""

import re
import time
from collections import Counter
from contextlib import closing
from importlib.util import find_spec

import pytest
import sqlglot
from sqlglot import exp

from heatfleet.domain.cost import GIB, READS, Prices, Usage, reckon, row_bytes
from heatfleet.domain.messages import POWER, Reading, read_message
from heatfleet.storage import open_store, set_up_dataset
from heatfleet.storage.block import Block
from tests.arrivals import Arrivals, appending
from tests.arrivals import arrivals as arrivals  # noqa: PLC0414 - a fixture
from tests.bigquery_server.running import BigQueryServer, FaultyBigQuery
from tests.unit.simulator.conftest import parse, simulate, winter

WITHIN = 0.02
"""How far the reckoning may be from what is counted. The ids are as long as reckoned, so it is a matter of rounding."""
COUNTED = """
SELECT
  COUNT(code) AS amount,
  SUM(40 + 2 + BYTE_LENGTH(device_id) + 2 + BYTE_LENGTH(product_id)) AS arrival_bytes,
  SUM(24 + 2 + BYTE_LENGTH(device_id) + 2 + BYTE_LENGTH(product_id)) AS reading_bytes
FROM arrival
WHERE received >= TIMESTAMP '2000-01-01'
"""


def test_a_run_comes_to_what_is_reckoned(arrivals: Arrivals, bigquery_server: BigQueryServer, dataset: str) -> None:
    """Three hours of fifty heaters, appended as the server does: rows and bytes are within two in a hundred."""
    options = winter(3, devices=50)
    assert options.end_ms is not None
    lines = simulate(options)
    readings = [one for message in parse(lines) for one in read_message(message, options.end_ms + 60_000)]
    with appending(bigquery_server.address, dataset) as appender:
        appender.append([Block.of(readings)], options.end_ms)
    (row,) = arrivals.ask(COUNTED)
    usage = Usage(50, len(lines) / 50, readings_per_message=len(readings) / len(lines), kept_days=1)
    told = {line.what: line.amount for line in reckon(usage, Prices())}

    assert row["amount"] == len(readings)
    assert told["appended to BigQuery"] * GIB == pytest.approx(row["arrival_bytes"], rel=WITHIN)
    assert told["kept, newest 1 days"] * GIB == pytest.approx(row["reading_bytes"], rel=WITHIN)
    assert row["arrival_bytes"] / row["amount"] == row_bytes("arrival", device_id_bytes=22, product_id_bytes=16)


def read_of(sql: str) -> Counter[str]:
    """How often each table is read in a script, not counting those that rows are only put into."""
    found: Counter[str] = Counter()
    for statement in sqlglot.parse(sql, read="bigquery"):
        if statement is None or isinstance(statement, exp.Command | exp.Drop):
            continue
        within = {one.alias for one in statement.find_all(exp.CTE)}
        written = statement.this if isinstance(statement, exp.Create | exp.Insert) else None
        written = written.this if isinstance(written, exp.Schema) else written
        for table in statement.find_all(exp.Table):
            if table is not written and table.name not in within:
                found[re.sub(r"^work_(?:[0-9a-f]+_)?", "work_", table.name)] += 1
    return found


@pytest.mark.skipif(not find_spec("heatfleet.storage.bigquery.store"), reason="there is no such store yet")
def test_a_rollup_reads_as_often_as_is_reckoned(faulty_bigquery: FaultyBigQuery, dataset: str) -> None:
    """Counted in what it sends: no table is read more often than the price of a rollup stands on."""
    url, now_ms = faulty_bigquery.address.url(dataset), time.time_ns() // 1_000_000
    list(set_up_dataset(url))
    with closing(open_store(url)) as store:
        for minute in range(2):  # of the second rollup the devices are known
            asked = len(faulty_bigquery.rest.asked)
            at_ms = now_ms + (minute - 3) * 60_000
            readings = [Reading(f"d{one}", "p1", POWER, at_ms, 100.0) for one in range(3)]
            store.append([Block.of(readings)], at_ms)
            store.rollup(at_ms + 30_000)
        requests = [one.body for one in faulty_bigquery.rest.asked[asked:] if isinstance(one.body, dict)]
    found: Counter[str] = Counter()
    for body in requests:
        found += read_of(body.get("query") or body.get("configuration", {}).get("query", {}).get("query", ""))
    work = sum(times for table, times in found.items() if table.startswith("work_") and table != "work_news")
    counted = {
        "stamps": found["arrival"] - READS["arrival"],
        "arrival": READS["arrival"],
        "news": found["work_news"],
        "device": found["device"],
        "work": work - found["work_batch"],
        "small": sum(found[table] for table in ("head", "taken", "waiting", "figure", "tail", "work_batch")),
    }

    assert found["arrival"] > 0
    assert {table for table, times in counted.items() if times > READS[table]} == set(), counted
