"""POST /message: a plain ASGI callable in front of the framework, because here it must be quick.

Most messages do not even come here: ``door`` answers them, with ``decode`` and ``answer_to`` below. Either way the
answer comes after the commit. A client that hangs up early does not undo what was accepted.
"""

from collections.abc import Sequence
from typing import cast

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from heatfleet.api.body import JSON_TYPE, body_form, read_body
from heatfleet.api.decode import Batch
from heatfleet.api.decoders import Decoders
from heatfleet.api.form import BodyForm, decode
from heatfleet.api.gate import Gate
from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import BadRequest, answer, answer_error, slug_of
from heatfleet.api.schemas import PartlyStored, Rejected
from heatfleet.errors import BadMessage, HeatfleetError
from heatfleet.metrics import Metrics
from heatfleet.wiring import Services

PATH = "/message"

IN_LOOP_BYTES_MAX = 16 * 1024
"""A larger body is decoded by another process, so that other requests need not wait for it."""


class PostMessage:
    """The ASGI app of this path: stores one message or a batch of them, and answers once they are on disk."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        services: Services = scope["state"]["services"]
        try:
            response = await self._take(scope, receive, services)
        except ClientDisconnect:
            return
        except HeatfleetError as error:
            services.metrics.rejected.labels(slug_of(error)).inc()
            response = answer_error(error)
        await response(scope, receive, send)

    async def _take(self, scope: Scope, receive: Receive, services: Services) -> Response:
        if scope["method"] != "POST":
            raise BadRequest("method-not-allowed", "the method must be POST", {"Allow": "POST"})
        headers, gate = Headers(scope=scope), cast("Gate", scope["state"]["gate"])
        caller = gate.admit(headers, scope["client"][0] if scope["client"] else "")
        caller.expect("ingest")
        form = body_form(headers, caller.bounds)
        caller.check_messages()
        services.ingest.check()
        decoders: Decoders = scope["state"]["decoders"]
        with decoders.room.share() as take:
            body = await read_body(receive, form, take)
            services.access.expect_still(caller)
            now_ms = services.clock()
            try:
                batch = await decode_body(decoders, body, form, now_ms, services.store.oldest_ms(now_ms))
            except BadMessage:
                caller.count_messages(0, 1)
                raise
        caller.count_messages(batch.messages, len(batch.rejected))
        if batch.readings:
            await services.ingest.write(batch.readings, caller.who)
        count(services.metrics, [batch])
        return answer_to(batch)


async def decode_body(decoders: Decoders, body: bytes, form: BodyForm, now_ms: int, oldest_ms: int) -> Batch:
    """The request as a batch, decoded here if that is quickly done; raises what ``Decoders.decode`` raises."""
    if not form.encoding and len(body) <= IN_LOOP_BYTES_MAX:
        return decode(body, form, now_ms, oldest_ms)
    return await decoders.decode(body, form, now_ms, oldest_ms)


def count(metrics: Metrics, batches: Sequence[Batch]) -> None:
    """Count what was stored and what was not."""
    metrics.messages.inc(sum(batch.messages for batch in batches))
    metrics.properties_dropped.inc(sum(batch.dropped for batch in batches))
    for batch in batches:
        for _, error in batch.rejected:
            metrics.rejected.labels(error.kind).inc()


def answer_to(batch: Batch) -> Response:
    """What the sender is told once all readings of its request are on disk."""
    inserted = len(batch.readings)
    if not batch.rejected:
        return Response(b'{"status":"ok","inserted":%d}' % inserted, media_type=JSON_TYPE)
    rejected = [Rejected.of(index, error) for index, error in batch.rejected]
    if not batch.messages:
        return answer("all-rejected", PROBLEMS["all-rejected"].advice, rejected=rejected)
    return Response(msgspec.json.encode(PartlyStored("partial", inserted, rejected)), media_type=JSON_TYPE)
