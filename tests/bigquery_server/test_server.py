"""The BigQuery for tests: Google's own clients work with it, and what BigQuery would refuse it refuses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from tests.bigquery_server.readings_table import NOW, TABLE, append, batch, power_by_device, request
from tests.bigquery_server.running import PROJECT, BigQueryServer

EXTRA_FIELDS = types.StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS


@pytest.fixture
def client(bigquery_server: BigQueryServer, dataset: str) -> Iterator[bigquery.Client]:
    """Google's client of a server that has the table above."""
    with bigquery_server.address.client() as client:
        client.query_and_wait(TABLE.format(dataset=dataset))
        yield client


def test_what_is_appended_is_queried(client: bigquery.Client, bigquery_server: BigQueryServer, dataset: str) -> None:
    """Rows appended as Arrow are there with the answer, and a column that was not sent takes its default."""
    first, second = request(dataset, batch("a", "b")), request(dataset, batch("c"))
    second.write_stream = ""  # as the client's own helper sends all but the first
    answers = append(bigquery_server.address, first, second)
    assert [0, 0] == [answer.error.code for answer in answers]
    assert {"a": 0, "b": 1, "c": 0} == power_by_device(client, dataset)
    sql = f"SELECT COUNTIF(seen_at IS NULL) AS missing FROM {dataset}.readings WHERE measured > TIMESTAMP '2020-01-01'"
    assert [0] == [row["missing"] for row in client.query_and_wait(sql)]


def test_bad_rows_are_named_and_refuse_their_batch(
    client: bigquery.Client, bigquery_server: BigQueryServer, dataset: str
) -> None:
    """A required column left out, a day too far away and a column that is not there: nothing of the batch lands."""
    missing, strayed, extra = append(
        bigquery_server.address,
        request(dataset, batch("a", None)),
        request(dataset, batch("a", at=NOW - timedelta(days=4000))),
        request(dataset, batch("a", power="volts")),
    )
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [(invalid, [1]), (invalid, [0]), (invalid, [])] == [
        (answer.error.code, [row.index for row in answer.row_errors]) for answer in (missing, strayed, extra)
    ]
    cause = types.StorageError.deserialize(extra.error.details[0].value)
    assert EXTRA_FIELDS == cause.code
    assert {} == power_by_device(client, dataset)


def test_errors_are_errors(client: bigquery.Client, dataset: str) -> None:
    """What fails raises, whichever way it is asked for, and so does what only BigQuery would refuse."""
    with pytest.raises(NotFound):
        client.query_and_wait(f"SELECT 1 FROM {dataset}.nowhere")
    with pytest.raises(NotFound):
        client.query(f"SELECT 1 FROM {dataset}.nowhere").result()
    for sql, why in {
        "SELECT SUM(power_w) FROM {}.readings": "without a filter over column",
        "SELECT power_w FROM {}.readings WHERE measured > CURRENT_TIMESTAMP() OR TRUE": "without a filter over column",
        "UPDATE {}.readings SET power_w = 0": "WHERE",
        "DELETE FROM {}.readings": "WHERE",
        "SELECT no_such_column FROM {}.readings WHERE measured > CURRENT_TIMESTAMP()": "no_such_column",
    }.items():
        with pytest.raises(BadRequest, match=why):
            client.query_and_wait(sql.format(dataset))


def test_a_script_takes_parameters_and_a_failed_one_changes_nothing(client: bigquery.Client, dataset: str) -> None:
    """BEGIN, COMMIT and @name work in one script; a script that fails after BEGIN leaves what was there."""
    values = [
        bigquery.ScalarQueryParameter("at", "TIMESTAMP", NOW),
        bigquery.ArrayQueryParameter("devices", "STRING", ["a", "it's @at"]),
    ]
    config = bigquery.QueryJobConfig(query_parameters=values, maximum_bytes_billed=10_000_000)
    insert = (
        f"INSERT INTO {dataset}.readings (device_id, measured, power_w) SELECT id, @at, 7 FROM UNNEST(@devices) AS id"
    )
    client.query_and_wait(f"BEGIN TRANSACTION; {insert}; COMMIT TRANSACTION", job_config=config)
    assert {"a": 7, "it's @at": 7} == power_by_device(client, dataset)
    change = f"UPDATE {dataset}.readings SET power_w = 8 WHERE measured = @at"
    with pytest.raises(BadRequest, match="stop here"):
        client.query_and_wait(f"BEGIN TRANSACTION; {change}; SELECT ERROR('stop here'); COMMIT", job_config=config)
    assert {"a": 7, "it's @at": 7} == power_by_device(client, dataset)
    changing = client.query(f"{change} AND device_id = 'a'", job_config=config)
    changing.result()
    assert 1 == changing.num_dml_affected_rows


def test_timestamps_differ_by_whole_units(client: bigquery.Client) -> None:
    """TIMESTAMP_DIFF counts whole units, not the boundaries between."""
    sql = "SELECT TIMESTAMP_DIFF(TIMESTAMP '2026-01-01 01:10:00.9981', TIMESTAMP '2026-01-01 00:50:00', {}) AS it"
    found = [next(iter(client.query_and_wait(sql.format(unit))))["it"] for unit in ("HOUR", "MINUTE", "MILLISECOND")]
    assert [0, 20, 1_200_998] == found


def test_a_transaction_without_its_end_is_undone(client: bigquery.Client, dataset: str) -> None:
    """What a script began and did not commit never was, and the next script begins anew."""
    insert = f"INSERT INTO {dataset}.readings (device_id, measured) VALUES ('a', CURRENT_TIMESTAMP())"
    client.query_and_wait(f"BEGIN TRANSACTION; {insert};")
    assert {} == power_by_device(client, dataset)
    with pytest.raises(BadRequest, match="somebody else"):
        client.query_and_wait(f"BEGIN TRANSACTION; {insert}; ASSERT (SELECT 1) = 2 AS 'somebody else'; COMMIT")
    client.query_and_wait(f"BEGIN TRANSACTION; {insert}; COMMIT TRANSACTION")
    assert ["a"] == list(power_by_device(client, dataset))


def test_bare_tables_are_those_of_the_default_dataset(client: bigquery.Client, dataset: str) -> None:
    """In a query, in a script and its blocks, and where the rows of a job go."""
    default = f"{PROJECT}.{dataset}"
    config = bigquery.QueryJobConfig(default_dataset=default)
    client.query_and_wait("CREATE TABLE number AS SELECT 1 AS n", job_config=config)
    script = "DECLARE least INT64 DEFAULT 1; IF EXISTS (SELECT n FROM number WHERE n = least) THEN {} END IF"
    client.query(script.format("INSERT INTO number (n) VALUES (2);"), job_config=config).result()
    for how, expected in {"WRITE_TRUNCATE": [2, 3], "WRITE_APPEND": [2, 2, 3, 3]}.items():
        into = bigquery.QueryJobConfig(default_dataset=default, destination=f"{default}.more", write_disposition=how)
        client.query("SELECT n + 1 AS n FROM number", job_config=into).result()
        found = client.query_and_wait("SELECT n FROM more ORDER BY n", job_config=config)
        assert expected == [row["n"] for row in found]


def test_appends_beside_queries(client: bigquery.Client, bigquery_server: BigQueryServer, dataset: str) -> None:
    """Appends while others query and change: all land, and nothing hangs."""
    sent = [request(dataset, batch(*(f"{number}-{row}" for row in range(10)))) for number in range(50)]
    with ThreadPoolExecutor() as others:
        appended = [others.submit(append, bigquery_server.address, *sent[part::2]) for part in range(2)]
        while not all(one.done() for one in appended):
            power_by_device(client, dataset)
            client.query_and_wait(f"UPDATE {dataset}.readings SET power_w = 1 WHERE measured = TIMESTAMP '2020-01-01'")
    assert {0} == {answer.error.code for one in appended for answer in one.result()}
    assert 500 == len(power_by_device(client, dataset))


def test_a_server_that_died_is_started_anew_and_ends_with_its_tests(tmp_path: Path) -> None:
    """A dead server is replaced by an empty one, and none outlives the end of its standard input."""
    server = BigQueryServer(tmp_path / "log")
    try:
        with server.address.client() as client:
            client.create_dataset("one")
        assert server._process is not None
        server._process.kill()
        server._process.wait()
        with server.address.client() as client:
            assert [] == list(client.list_datasets())
        assert server._process.stdin is not None
        server._process.stdin.close()
        server._process.wait(30)
    finally:
        server.close()
