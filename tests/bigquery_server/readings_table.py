"""A table for the tests of the local BigQuery, and appends to it by Google's client."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import pyarrow as pa
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from tests.bigquery_server.running import PROJECT, Address

NOW = datetime.now(UTC).replace(microsecond=0)
TABLE = """
CREATE TABLE {dataset}.readings (
  device_id STRING NOT NULL, measured TIMESTAMP NOT NULL, power_w INT64, seen_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP()
) PARTITION BY TIMESTAMP_TRUNC(measured, DAY) CLUSTER BY device_id OPTIONS (require_partition_filter = TRUE)
"""
DEFAULT_VALUE = types.AppendRowsRequest.MissingValueInterpretation.DEFAULT_VALUE


def batch(*devices: str | None, at: datetime = NOW, power: str = "power_w") -> pa.RecordBatch:
    """Rows as Arrow, one for each device, with 0 W, 1 W and so on."""
    times = pa.array([at] * len(devices), pa.timestamp("us", "UTC"))
    return pa.record_batch({"device_id": pa.array(devices, pa.string()), "measured": times, power: range(len(devices))})


def request(dataset: str, rows: pa.RecordBatch) -> types.AppendRowsRequest:
    """An append to the default stream of the table."""
    return types.AppendRowsRequest(
        write_stream=f"projects/{PROJECT}/datasets/{dataset}/tables/readings/streams/_default",
        arrow_rows=types.AppendRowsRequest.ArrowData(
            writer_schema=types.ArrowSchema(serialized_schema=rows.schema.serialize().to_pybytes()),
            rows=types.ArrowRecordBatch(serialized_record_batch=rows.serialize().to_pybytes()),
        ),
        default_missing_value_interpretation=DEFAULT_VALUE,
    )


@contextmanager
def writing(address: Address) -> Iterator[BigQueryWriteClient]:
    """Google's client for appends."""
    with grpc.insecure_channel(address.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        yield BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))  # type: ignore[no-untyped-call]


def append(address: Address, *requests: types.AppendRowsRequest) -> list[types.AppendRowsResponse]:
    """The answers to these appends on one connection."""
    with writing(address) as client:
        return list(client.append_rows(iter(requests), retry=None))


def power_by_device(client: bigquery.Client, dataset: str) -> dict[str, int]:
    """What is in the table."""
    rows = client.query_and_wait(
        f"SELECT device_id, power_w FROM {dataset}.readings WHERE measured > TIMESTAMP '2020-01-01'"
    )
    return {row["device_id"]: row["power_w"] for row in rows}
