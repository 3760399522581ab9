"""What a run of a simulated fleet comes to in BigQuery, counted there, against what `heatfleet cloud cost` reckons."""

import pytest

from heatfleet.domain.cost import GIB, Prices, Usage, reckon, row_bytes
from heatfleet.domain.messages import read_message
from heatfleet.storage.block import Block
from tests.arrivals import Arrivals, appending
from tests.arrivals import arrivals as arrivals  # noqa: PLC0414 - a fixture
from tests.bigquery_server.running import BigQueryServer
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
