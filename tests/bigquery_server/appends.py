"""What is mended in the emulator's Storage Write API."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import grpc
import pyarrow as pa
import pyarrow.compute as pc
from bqemulator.grpc_api import write_servicer
from bqemulator.storage.sql_identifiers import quoted_table_ref
from google.cloud.bigquery_storage_v1 import types

EXTRA_FIELDS = "Schema mismatch due to extra fields in user schema: "
DEFAULTED = b"columns that take their default"


def mend() -> None:
    """A connection keeps its stream, bad rows are named, columns that are not there are refused, defaults are taken."""
    handler = write_servicer.BigQueryWriteHandler
    bind, rows_for, append = handler._ensure_stream_bound, write_servicer._rows_for_request, handler._perform_append
    told = write_servicer._error_response

    def bound(self: Any, stream: str, already: Any, context: Any) -> Any:
        """After the first request of a connection the stream need not be named: the client's own helper does not."""
        return already if already and not stream else bind(self, stream, already, context)

    def rows(request: Any, decoder: Any, schema: Any, target: pa.Schema) -> Any:
        """Columns that the table has not are refused, not dropped; those not sent may be left to their default."""
        table, decoder, schema = rows_for(request, decoder, schema, target)
        sent = set(pa.ipc.read_schema(pa.BufferReader(schema)).names) if schema else set(table.column_names)
        if extra := sent - set(target.names):
            raise ValueError(EXTRA_FIELDS + ", ".join(sorted(extra)))
        missing = set(target.names) - sent
        by_default = request.default_missing_value_interpretation == DEFAULT_VALUE
        left = [
            name
            for name in missing
            if request.missing_value_interpretations.get(name, DEFAULT_VALUE if by_default else None) == DEFAULT_VALUE
        ]
        return table.replace_schema_metadata({DEFAULTED: json.dumps(left)}), decoder, schema

    def performed(self: Any, stream: Any, rows: pa.Table, offset: Any, bound: int) -> bytes:
        """One bad row refuses the whole batch, and is named: nothing breaks the stream."""
        meta = self._ctx.catalog.get_table(stream.project_id, stream.dataset_id, stream.table_id)
        if bad := sorted(bad_rows(rows, meta)):
            return refused(stream.name, bad)
        try:
            return bytes(append(self, stream, rows, offset, bound))
        except duckdb.Error as error:
            return bytes(told(stream.name, str(error)))

    def error(stream: str, detail: str, status_code: Any = grpc.StatusCode.INVALID_ARGUMENT) -> bytes:
        """As it was, with BigQuery's own code where the schema does not fit."""
        answer = types.AppendRowsResponse.deserialize(told(stream, detail, status_code))
        if detail.startswith(EXTRA_FIELDS):
            code = types.StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS
            cause = types.StorageError(code=code, entity=stream, error_message=detail)
            answer.error.details.add().Pack(types.StorageError.pb(cause))
        return bytes(types.AppendRowsResponse.serialize(answer))

    handler._ensure_stream_bound = bound
    handler._perform_append = performed
    handler._flush_to_target = insert
    write_servicer._rows_for_request = rows
    write_servicer._error_response = error


DEFAULT_VALUE = types.AppendRowsRequest.MissingValueInterpretation.DEFAULT_VALUE


def bad_rows(rows: pa.Table, meta: Any) -> Iterator[tuple[int, str]]:
    """Rows without what the table requires, or outside the ten years before and the one after that may be appended."""
    defaulted = json.loads((rows.schema.metadata or {}).get(DEFAULTED, b"[]"))
    for field in meta.schema_.fields:
        if field.mode == "REQUIRED" and field.name not in defaulted:
            missing = pc.indices_nonzero(pc.is_null(rows[field.name])).to_pylist()
            yield from ((row, f"Field {field.name}: required field is missing") for row in missing)
    column = meta.time_partitioning and meta.time_partitioning.field
    if column and pa.types.is_timestamp(rows[column].type):
        now, kind = datetime.now(UTC), rows[column].type
        oldest, newest = (pa.scalar(now + timedelta(days=days), kind) for days in (-3653, 366))
        outside = pc.or_(pc.less(rows[column], oldest), pc.greater(rows[column], newest))
        strayed = pc.indices_nonzero(outside).to_pylist()
        yield from ((row, f"Field {column}: outside the allowed bounds of the partition") for row in strayed)


def refused(stream: str, bad: list[tuple[int, str]]) -> bytes:
    """The answer to a batch with bad rows."""
    code = types.RowError.RowErrorCode.FIELDS_ERROR
    answer = types.AppendRowsResponse(
        write_stream=stream,
        error={"code": grpc.StatusCode.INVALID_ARGUMENT.value[0], "message": "Errors found while processing rows"},
        row_errors=[types.RowError(index=row, code=code, message=why) for row, why in bad],
    )
    return bytes(types.AppendRowsResponse.serialize(answer))


def insert(self: Any, stream: Any, rows: pa.Table) -> None:
    """Rows into the table, leaving to it the columns that take their default."""
    defaulted = json.loads((rows.schema.metadata or {}).get(DEFAULTED, b"[]"))
    names = ", ".join(f'"{name}"' for name in rows.column_names if name not in defaulted)
    target = quoted_table_ref(stream.project_id, stream.dataset_id, stream.table_id)
    with self._write_lock:
        connection = self._ctx.engine.connection
        connection.register("appended", rows)
        try:
            connection.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM appended")
        finally:
            connection.unregister("appended")
        meta = self._ctx.catalog.get_table(stream.project_id, stream.dataset_id, stream.table_id)
        self._ctx.catalog.update_table(meta.model_copy(update={"num_rows": meta.num_rows + rows.num_rows}))
        self._ctx.snapshots.record_change(stream.project_id, stream.dataset_id, stream.table_id)
