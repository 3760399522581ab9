"""Where appends of the Storage Write API go in a benchmark: real gRPC, rows counted and forgotten.

In a thread of this process, which does nothing else meanwhile, so that the server that is measured is left alone.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse

SERVICE, METHOD = "google.cloud.bigquery.storage.v1.BigQueryWrite", "AppendRows"
_Request, _Response = AppendRowsRequest.pb(), AppendRowsResponse.pb()


class AppendSink:
    """Answers every append with a yes, ``delay_s`` after it came; counts requests, rows, and bytes of requests."""

    def __init__(self) -> None:
        self.port = 0
        self.clear()

    def clear(self, delay_s: float = 0.0) -> None:
        """Begin to count anew."""
        self.delay_s = delay_s
        self.requests = self.rows = self.size_bytes = 0

    async def serve(self, _: Any, context: Any) -> None:
        """One stream of appends."""
        schema = pa.schema([])
        while (body := await context.read()) is not grpc.aio.EOF:
            request = _Request.FromString(body)
            if request.write_stream:
                schema = pa.ipc.read_schema(pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema))
            rows = pa.ipc.read_record_batch(pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema)
            self.requests += 1
            self.rows += len(rows)
            self.size_bytes += len(body)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await context.write(_Response(append_result={}))


@contextmanager
def append_sink() -> Iterator[AppendSink]:
    """A sink that listens for as long as the block lasts."""
    sink, loop = AppendSink(), asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    handler = grpc.stream_stream_rpc_method_handler(sink.serve, None, _Response.SerializeToString)
    server = asyncio.run_coroutine_threadsafe(_listen(sink, handler), loop).result()
    try:
        yield sink
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(sink: AppendSink, handler: Any) -> Any:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
    sink.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server
