"""A way to the Storage Write API on which things go wrong: every byte is carried as it is, until a switch is set."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse, RowError, StorageError

from tests.bigquery_server.faults import (
    AnsweredWithError,
    AnswerLost,
    Poison,
    Refused,
    Reset,
    Silence,
    Slow,
    Switch,
)

ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
LOOK_S = 0.05
_Request = AppendRowsRequest.pb()


class AppendsOnTheWay(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Carries all gRPC calls to a server; those of AppendRows meet the faults of ``switch``, request by request.

    With ``idle_s`` a stream without a request for so long is ended, as BigQuery does after ten minutes.
    """

    def __init__(self, upstream: str) -> None:
        self.switch = Switch()
        self.idle_s: float | None = None
        self.port = 0
        self._upstream = grpc.insecure_channel(upstream, ANY_SIZE)
        self.up()

    def up(self) -> None:
        """Listen, on the same port as ever."""
        self._threads = ThreadPoolExecutor(64)
        self._server = grpc.server(self._threads, handlers=[self], options=ANY_SIZE)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._server.stop(None).wait()
        self._threads.shutdown(wait=False)

    def reset(self) -> None:
        """Cut all connections."""
        self.down()
        self.up()

    def close(self) -> None:
        """End, and nobody waits any more."""
        self.switch.clear()
        self.down()
        self._upstream.close()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """On the wire every call is a stream both ways: of one message each, if it is none."""
        carry = _Stream if call.method.endswith("/AppendRows") else _carry
        return grpc.stream_stream_rpc_method_handler(partial(_begin, self, carry, call.method))


def _begin(way: AppendsOnTheWay, carry: Any, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    """Connect the two ends of a call for as long as it lasts."""
    onwards: SimpleQueue[bytes | None] = SimpleQueue()
    metadata = [
        (name, value) for name, value in context.invocation_metadata() if not name.startswith(("grpc-", "user"))
    ]
    answers = way._upstream.stream_stream(method)(iter(onwards.get, None), metadata=metadata)

    def end() -> None:
        onwards.put(None)
        answers.cancel()

    context.add_callback(end)
    try:
        yield from carry(way, requests, onwards, answers, context)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
    else:
        return
    context.abort(code, details)


def _carry(
    _: Any, requests: Iterator[bytes], onwards: SimpleQueue[bytes | None], answers: Any, __: Any
) -> Iterator[bytes]:
    """A call that meets no faults."""
    for request in requests:
        onwards.put(request)
    onwards.put(None)
    yield from answers


class _Stream:
    """One stream of appends."""

    def __init__(self, way: AppendsOnTheWay, requests: Any, onwards: Any, answers: Any, context: Any) -> None:
        self._way, self._onwards, self._answers, self._context = way, onwards, answers, context
        self._head = _Request()  # what the first request said for all
        self._is_begun = False  # whether the server has heard of it
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        threading.Thread(target=self._pump, args=(requests,), daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        while (request := self._next()) is not None:
            asked = _Request.FromString(request)
            for said in ("write_stream", "arrow_rows.writer_schema", "proto_rows.writer_schema"):
                _keep(self._head, asked, said)
            answer = self._answer(request, asked)
            if answer is None:
                return
            yield answer

    def _pump(self, requests: Iterator[bytes]) -> None:
        try:
            for request in requests:
                self._requests.put(request)
        except Exception:  # noqa: BLE001 - gRPC's own way of telling that the stream was cut
            pass
        self._requests.put(None)

    def _next(self) -> bytes | None:
        try:
            return self._requests.get(timeout=self._way.idle_s)
        except Empty:
            idle_s = self._way.idle_s
            self._context.abort(
                grpc.StatusCode.ABORTED, f"Closing the stream because it has been inactive for {idle_s} seconds"
            )
            raise

    def _answer(self, request: bytes, asked: Any) -> bytes | None:
        match self._way.switch.take(self._head.write_stream):
            case Refused(code, message):
                self._context.abort(code, message)
            case AnsweredWithError(code, message, cause):
                return self._error(code, message, cause)
            case Poison(text) if bad := self._rows_with(text, asked):
                return self._error(grpc.StatusCode.INVALID_ARGUMENT, "Errors found while processing rows", bad=bad)
            case AnswerLost(code):
                self._forward(request, asked)
                if code is not None:
                    self._context.abort(code, "the connection was lost")
                self._wait_for_the_end()
                return None
            case Reset():
                threading.Thread(target=self._way.reset).start()  # it waits for this very call to end
                self._wait_for_the_end()
                return None
            case Silence():
                while self._context.is_active() and not self._way.switch.wait(LOOK_S):
                    pass
            case Slow(delay_s):
                self._way.switch.wait(delay_s)
        return self._forward(request, asked)

    def _forward(self, request: bytes, asked: Any) -> bytes | None:
        """Let it land, and take the answer; the first also says what was said before in vain."""
        if not self._is_begun:
            asked.MergeFrom(self._head)
            request, self._is_begun = asked.SerializeToString(), True
        self._onwards.put(request)
        return next(self._answers, None)

    def _wait_for_the_end(self) -> None:
        while self._context.is_active():
            self._way.switch.wait(LOOK_S)

    def _error(self, code: grpc.StatusCode, message: str, cause: Any = None, bad: list[int] | None = None) -> bytes:
        stream = self._head.write_stream
        answer = AppendRowsResponse.pb(AppendRowsResponse(write_stream=stream))
        answer.error.code, answer.error.message = code.value[0], message
        if cause is not None:
            told = StorageError(code=cause, entity=stream, error_message=message)
            answer.error.details.add().Pack(StorageError.pb(told))
        for row in bad or ():
            answer.row_errors.add(index=row, code=RowError.RowErrorCode.FIELDS_ERROR, message="the row is bad")
        return bytes(answer.SerializeToString())

    def _rows_with(self, text: str, asked: Any) -> list[int]:
        if asked.HasField("proto_rows"):
            return [at for at, row in enumerate(asked.proto_rows.rows.serialized_rows) if text.encode() in row]
        schema = pa.ipc.read_schema(pa.BufferReader(self._head.arrow_rows.writer_schema.serialized_schema))
        batch = pa.ipc.read_record_batch(pa.BufferReader(asked.arrow_rows.rows.serialized_record_batch), schema)
        return [at for at, row in enumerate(batch.to_pylist()) if text in row.values()]


def _keep(head: Any, asked: Any, said: str) -> None:
    """Remember what a request says for those after it."""
    holder, _, name = said.rpartition(".")
    if holder and not asked.HasField(holder):
        return
    source = getattr(asked, holder) if holder else asked
    if not holder and getattr(source, name):
        setattr(head, name, getattr(source, name))
    elif holder and source.HasField(name):
        getattr(getattr(head, holder), name).CopyFrom(getattr(source, name))
