"""BigQuery's Storage Write API as far as the default stream, with faults that happen when a test says so.

As strict as BigQuery is documented to be: a connection begins with the stream, its header and the schema, a request
has at most 10 MB, columns are those of the table, one bad row refuses the whole request and is named.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse
from grpc import StatusCode

from tests.serving import free_port

DATASET = "projects/heatfleet-test/datasets/fleet"
REQUEST_BYTES_MAX = 10_000_000

Fault: TypeAlias = Any
"""What happens to a request. A ``StatusCode``: the connection ends with it before the rows are there; "lose the
answer": after it; "end": it ends without a word; "hang", "take it and hang": nobody answers; ("say", code): the answer
is an error, and the connection goes on."""

_SERVICE, _METHOD = "google.cloud.bigquery.storage.v1.BigQueryWrite", "AppendRows"
_Request, _Response = AppendRowsRequest.pb(), AppendRowsResponse.pb()


@dataclass(slots=True)
class Table:
    """Its columns, the rows of each request that was taken, and why a row would be bad."""

    columns: pa.Schema
    batches: list[pa.RecordBatch] = field(default_factory=list)
    refused: Callable[[Mapping[str, Any]], str | None] = lambda _: None

    def rows(self) -> list[dict[str, Any]]:
        """All rows."""
        return [row for batch in self.batches for row in batch.to_pylist()]


class AppendServer:
    """Listens on loopback, in a thread of its own.

    ``faults`` happen to the next requests, one each, and ``constant_fault`` to all others.
    """

    def __init__(self, **columns: pa.Schema) -> None:
        self.port = free_port()
        self.tables = {name: Table(schema) for name, schema in columns.items()}
        self.faults: deque[Fault | None] = deque()
        self.constant_fault: Fault | None = None
        self.first_requests: list[Any] = []
        self.requests_bytes: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="append-server")
        self._thread.start()
        self.start()

    @property
    def arrived(self) -> list[dict[str, Any]]:
        """The rows of ``arrival``."""
        return self.tables["arrival"].rows()

    def start(self) -> None:
        """Listen."""
        self._call(self._start())

    def stop(self) -> None:
        """Break all connections and listen no more, until started again."""
        self._call(self._server.stop(None))

    def end_idle(self) -> None:
        """End all connections, as happens after ten minutes without a request."""
        self._call(self._end_idle())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _start(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(self._serve, _Request.FromString, _Response.SerializeToString)
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler})])
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._idle = asyncio.Event()
        await self._server.start()

    async def _end_idle(self) -> None:
        idle, self._idle = self._idle, asyncio.Event()
        idle.set()

    async def _serve(self, _: Any, context: Any) -> None:
        table: Table | None = None
        schema, idle = pa.schema([]), self._idle
        while (request := await self._next(context, idle)) is not None:
            self.requests_bytes.append(request.ByteSize())
            fault = self.faults.popleft() if self.faults else self.constant_fault
            if table is None:
                self.first_requests.append(request)
                table, schema = await self._begin(request, context)
            if isinstance(fault, StatusCode):
                await context.abort(fault, "as the test wants it")
            if fault == "end":
                return
            if fault == "hang":
                await asyncio.Event().wait()
            answer = error(*fault[1:]) if isinstance(fault, tuple) else append(table, schema, request)
            if fault == "take it and hang":
                await asyncio.Event().wait()
            if fault == "lose the answer":
                await context.abort(StatusCode.UNAVAILABLE, "the answer is lost")
            await context.write(answer)

    async def _next(self, context: Any, is_idle: asyncio.Event) -> Any:
        """The next request, or ``None`` at the end; breaks the connection if it is idle for too long."""
        idle = asyncio.ensure_future(is_idle.wait())
        request = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait([idle, request], return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                words = "Closing the stream because it has been inactive for 600 seconds."
                await context.abort(StatusCode.ABORTED, words)
            return None if request.result() is grpc.aio.EOF else request.result()
        finally:
            idle.cancel()
            request.cancel()
            with suppress(asyncio.CancelledError):
                await idle

    async def _begin(self, request: Any, context: Any) -> tuple[Table, pa.Schema]:
        """What a connection says at its beginning."""
        stream = request.write_stream
        headers = dict(context.invocation_metadata())
        name = stream.removeprefix(f"{DATASET}/tables/").removesuffix("/streams/_default")
        if f"write_stream={stream}" != unquote(headers.get("x-goog-request-params", "")):
            await context.abort(StatusCode.INVALID_ARGUMENT, "the header that names the stream is missing")
        if name not in self.tables:
            await context.abort(StatusCode.NOT_FOUND, f"Requested entity was not found. Entity: {stream}")
        schema = pa.ipc.read_schema(pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema))
        if extra := set(schema.names) - set(self.tables[name].columns.names):
            words = f"Schema mismatch due to extra fields in user schema: {', '.join(extra)}"
            await context.abort(StatusCode.INVALID_ARGUMENT, words)
        return self.tables[name], schema


def append(table: Table, schema: pa.Schema, request: Any) -> Any:
    """The answer to a request, whose rows are there unless it is an error."""
    if request.ByteSize() > REQUEST_BYTES_MAX:
        return error(StatusCode.INVALID_ARGUMENT, "the request is too large")
    if request.HasField("offset"):
        return error(StatusCode.INVALID_ARGUMENT, "the default stream has no offsets")
    rows = pa.ipc.read_record_batch(pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema)
    rows.validate(full=True)
    reasons = [(place, table.refused(row)) for place, row in enumerate(rows.to_pylist())]
    bad = [{"index": place, "code": "FIELDS_ERROR", "message": reason} for place, reason in reasons if reason]
    if bad:
        words = "Errors found while processing rows. Please refer to the row_errors field for details."
        return _Response(error={"code": StatusCode.INVALID_ARGUMENT.value[0], "message": words}, row_errors=bad)
    table.batches.append(rows)
    return _Response(append_result={})


def error(code: StatusCode, message: str = "as the test wants it") -> Any:
    """An answer that refuses one request, while the connection goes on."""
    return _Response(error={"code": code.value[0], "message": message})
