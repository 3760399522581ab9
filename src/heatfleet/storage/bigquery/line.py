"""One connection to BigQuery over which rows of one table are appended: requests go out, answers come in their order.

The client's own helper for this replays nothing and has no deadline; so only its transport is used here.
"""

from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse

from heatfleet import __version__
from heatfleet.storage.bigquery.append_failure import AppendFailed

CLOSE_S = 1.0
"""How long closing waits for the reader, which has nothing more to do then."""

_Request = AppendRowsRequest.pb()  # the plain message, without the class that the client puts around it


class Line:
    """A stream of appends to one table. Has the client to itself. For one thread; any may ``close`` it, also twice."""

    def __init__(self, client: BigQueryWriteClient, table: str, schema: pa.Schema) -> None:
        self._stream = f"{table}/streams/_default"
        self._schema = schema
        self._is_new = True
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._answers: SimpleQueue[AppendRowsResponse | AppendFailed] = SimpleQueue()
        # Servers outside of the US find the region of the table by this header.
        header = to_grpc_metadata({"write_stream": self._stream})  # type: ignore[no-untyped-call]
        self._transport: Any = client.transport
        self._call: Any = client.transport.append_rows(  # type: ignore[call-arg]  # said to take one request, takes many
            iter(self._requests.get, None),  # type: ignore[arg-type]
            metadata=(header,),
        )
        self._reader = Thread(target=self._read, name="heatfleet-appended", daemon=True)
        self._reader.start()

    @property
    def is_broken(self) -> bool:
        """Whether the server has ended the connection: an idle one is, after ten minutes."""
        return not self._reader.is_alive()

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
        """The next answer; raises ``AppendFailed`` when there will be none, or not in time."""
        try:
            answer = self._answers.get(timeout=timeout_s)
        except Empty:
            raise AppendFailed(grpc.StatusCode.DEADLINE_EXCEEDED, f"no answer for {timeout_s:.0f} s") from None
        if isinstance(answer, AppendFailed):
            self._answers.put(answer)  # for whoever asks again
            raise answer
        return answer

    def close(self) -> None:
        """End the connection, whether or not the server listens."""
        self._requests.put(None)
        self._call.cancel()
        self._transport.close()
        self._reader.join(CLOSE_S)

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._answers.put(answer)
            self._answers.put(AppendFailed(grpc.StatusCode.UNAVAILABLE, "the server has ended the connection"))
        except grpc.RpcError as error:
            self._answers.put(AppendFailed(error.code(), error.details()))
        finally:
            self._requests.put(None)  # or the thread that sends would wait for ever
