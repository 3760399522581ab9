"""Readings as Arrow rows for BigQuery: the same readings, in requests that are small enough."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.messages import ID_CHARACTERS, ID_LENGTH_MAX, POWER, TEMPERATURE, TIME_MIN_MS, Reading
from heatfleet.storage.bigquery import rows as module
from heatfleet.storage.bigquery.rows import ARRIVAL, DEAD_LETTER, ROWS_MAX, dead_letters, rows_of, stamped, without
from heatfleet.storage.block import Block, NamedColumns, unpack

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REQUEST_BYTES_MAX = 9_000_000

ids = st.text(ID_CHARACTERS.decode(), min_size=1, max_size=ID_LENGTH_MAX)
readings = st.builds(
    Reading,
    ids,
    ids,
    st.sampled_from([POWER, TEMPERATURE]),
    st.integers(TIME_MIN_MS, 4_102_444_800_000),
    st.floats(-60, 100_000),
)


def decoded(batch: pa.RecordBatch) -> list[Reading]:
    """The readings in serialised rows, as a server reads them."""
    schema = pa.ipc.read_schema(ARRIVAL.serialize())
    rows = pa.ipc.read_record_batch(batch.serialize(), schema)
    rows.validate(full=True)
    return [
        Reading(
            row["device_id"],
            row["product_id"],
            row["code"],
            (row["time"] - EPOCH) // timedelta(milliseconds=1),
            row["value"],
        )
        for row in rows.to_pylist()
    ]


@given(st.lists(st.lists(readings, min_size=1, max_size=9), min_size=1, max_size=5), st.integers(1, 10))
def test_rows_are_the_readings(groups: list[list[Reading]], rows_max: int) -> None:
    """Whatever was packed in however many blocks, the rows say the same in the same order, cut as you like."""
    columns = unpack(*(Block.of(group).body for group in groups))
    kept, module.ROWS_MAX = module.ROWS_MAX, rows_max
    try:
        pieces = list(rows_of(columns))
    finally:
        module.ROWS_MAX = kept

    assert [one for group in groups for one in group] == [
        one for rows in pieces for one in decoded(stamped(rows, 1_768_068_000_000))
    ]
    assert max(map(len, pieces)) <= rows_max


def test_no_request_is_too_large() -> None:
    """With the longest names there are, the rows of one request are below 9 MB."""
    name = "x" * ID_LENGTH_MAX
    columns = NamedColumns.of([Reading(name, name, POWER, 1_768_068_000_000, 1.5)] * (2 * ROWS_MAX + 1))

    sizes = [stamped(rows, 0).serialize().size for rows in rows_of(columns)]

    assert 3 == len(sizes)
    assert max(sizes) < REQUEST_BYTES_MAX - 10_000


def test_a_batch_has_its_stamps() -> None:
    """All rows of a batch share the instant and a number that no other batch has, also not of the same readings."""
    [rows] = rows_of(NamedColumns.of([Reading("d1", "p1", POWER, 1_768_068_000_000, float(one)) for one in range(3)]))

    batches = [stamped(rows, 1_768_068_000_123) for _ in range(100)]
    told = [{(row["received"], row["batch"]) for row in batch.to_pylist()} for batch in batches]

    assert [1] * 100 == list(map(len, told))
    assert {EPOCH + timedelta(milliseconds=1_768_068_000_123)} == {received for [(received, _)] in told}
    assert 100 == len({batch for [(_, batch)] in told})


@given(st.lists(readings, min_size=1, max_size=9), st.sets(st.integers(0, 8)))
def test_rows_can_be_taken_out(told: list[Reading], places: set[int]) -> None:
    """What is taken out can be read in a dead letter, with the reason; the others stay as they are."""
    bad = {place: f"reason {place}" for place in places if place < len(told)}
    [rows] = rows_of(NamedColumns.of(told))

    assert [one for place, one in enumerate(told) if place not in bad] == decoded(stamped(without(rows, bad), 0))

    letters = dead_letters(rows, bad, 5000)

    assert DEAD_LETTER == letters.schema
    assert list(bad.values()) == letters["reason"].to_pylist()
    assert [(told[place].device_id, told[place].product_id, told[place].code, told[place].value) for place in bad] == [
        (row["device_id"], row["product_id"], row["code"], row["value"])
        for row in map(json.loads, letters["row_json"].to_pylist())
    ]
