"""One connection to BigQuery over which rows of one table are appended: requests go out, answers come in their order.

The client's own helper for this replays nothing and has no deadline; so only its transport is used here.
"""

import math
import time
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse

from heatfleet import __version__
from heatfleet.storage.bigquery.append_failure import AppendFailed

WATCH_S = 0.25
"""How late a deadline may be noticed."""

_Request = AppendRowsRequest.pb()  # the plain message, without the class that the client puts around it


class Line:
    """A stream of appends to one table. Has the client to itself. For one thread; any may ``close`` it, also twice."""

    def __init__(self, client: BigQueryWriteClient, table: str, schema: pa.Schema) -> None:
        self._stream = f"{table}/streams/_default"
        self._schema = schema
        self._is_new = True
        self._requests: SimpleQueue[Any] = SimpleQueue()
        # Servers outside of the US find the region of the table by this header.
        header = to_grpc_metadata({"write_stream": self._stream})  # type: ignore[no-untyped-call]
        self._transport: Any = client.transport
        self._call: Any = client.transport.append_rows(  # type: ignore[call-arg]  # said to take one request, takes many
            iter(self._requests.get, None),  # type: ignore[arg-type]
            metadata=(header,),
        )
        # Who waits for an answer reads it from gRPC itself, which knows no deadlines there. A thread that read for it
        # would be one more that each answer has to wake, and take turns with for the interpreter.
        self._deadline_s = math.inf
        self._closed = Event()
        Thread(target=self._watch, name="heatfleet-append-watch", daemon=True).start()

    @property
    def is_broken(self) -> bool:
        """Whether the connection has ended: BigQuery ends one that was idle for ten minutes."""
        return bool(self._call.done())

    def send(self, rows: pa.RecordBatch) -> None:
        """Ask for an append; the answers come in the order of the requests."""
        request = _Request()
        if self._is_new:
            request.write_stream = self._stream
            request.trace_id = f"heatfleet:{__version__}"
            request.arrow_rows.writer_schema.serialized_schema = self._schema.serialize().to_pybytes()
            self._is_new = False
        request.arrow_rows.rows.serialized_record_batch = rows.serialize().to_pybytes()
        self._requests.put(request)

    def answer(self, timeout_s: float) -> AppendRowsResponse:
        """The next answer; raises ``AppendFailed`` when there will be none, or not in time. Then close the line."""
        self._deadline_s = deadline_s = time.monotonic() + timeout_s
        try:
            answer: AppendRowsResponse = next(self._call)
        except StopIteration:
            raise AppendFailed(grpc.StatusCode.UNAVAILABLE, "the server has ended the connection") from None
        except grpc.RpcError as error:
            if time.monotonic() > deadline_s and not self._closed.is_set():
                words = f"no answer for {timeout_s:.1f} s"
                raise AppendFailed(grpc.StatusCode.DEADLINE_EXCEEDED, words) from None
            raise AppendFailed(error.code(), error.details()) from None
        finally:
            self._deadline_s = math.inf
        return answer

    def close(self) -> None:
        """End the connection, whether or not the server listens."""
        self._closed.set()
        self._requests.put(None)
        self._call.cancel()
        self._transport.close()

    def _watch(self) -> None:
        """End the wait for an answer that does not come in time."""
        while not self._closed.wait(WATCH_S):
            if time.monotonic() > self._deadline_s:
                self._call.cancel()
                return
