"""POST /pubsub/push: what a push subscription of Pub/Sub delivers; the answer tells it whether to deliver it again.

Any answer but 2xx does. So one that is refused for good comes again, until the dead-letter topic of the subscription
takes it: nothing vanishes, and nothing is tried for ever.
"""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.body import JSON_TYPE, body_form, read_body
from heatfleet.api.decoders import Decoders
from heatfleet.api.gate import PushRoute
from heatfleet.api.message import count, decode_body
from heatfleet.api.problem_table import PROBLEMS
from heatfleet.api.problems import answer, problem_responses, slug_of
from heatfleet.api.schemas import Rejected
from heatfleet.errors import HeatfleetError
from heatfleet.wiring import Services

PUSH_TOKEN = "PushToken"  # noqa: S105 - the name of a scheme in the API's document
WHO = "pubsub"
"""Whom the share of the queue belongs to that pushes may fill."""

_PUBLISHED = {
    "data": "eyJiaXpDb2RlIjoiZGV2aWNlUHJvcGVydHlNZXNzYWdlIiwiYml6RGF0YSI6eyJkZXZJZCI6ImJmYWRhZmViYjYwOGExNTQyMDZhcXUiLC"
    "Jwcm9kdWN0SWQiOiJpeGhrbzFjbHM3bHpwd3NmIiwicHJvcGVydGllcyI6W3siY29kZSI6Imluc3RhbnRfcG93ZXIiLCJ0aW1lIjoxNzMyNjMxNTcz"
    "NzgyLCJ2YWx1ZSI6MjUwMH1dfX0=",
    "messageId": "2070443601311540",
    "publishTime": "2024-11-26T14:32:54.120Z",
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON_TYPE: {
            "schema": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "message": {
                        "type": "object",
                        "required": ["data"],
                        "properties": {
                            "data": {
                                "type": "string",
                                "format": "byte",
                                "description": "What POST /message takes, in base64: one message, an array, or one on "
                                "each line.",
                            },
                            "messageId": {"type": "string", "description": "Ignored, as all other fields."},
                        },
                    },
                    "subscription": {"type": "string", "description": "Ignored."},
                },
            },
            "examples": {
                "push": {
                    "summary": "A push",
                    "value": {"message": _PUBLISHED, "subscription": "projects/p/subscriptions/readings-push"},
                }
            },
        }
    },
}

router = APIRouter(tags=["messages"], route_class=PushRoute)


@router.post(
    "/pubsub/push",
    summary="Store what Pub/Sub pushes",
    status_code=204,
    response_class=Response,
    openapi_extra={"requestBody": _BODY, "security": [{PUSH_TOKEN: []}]},
    responses={
        204: {"description": "On disk: the subscription may forget it"},
        **problem_responses(
            "broken-json",
            "foreign-biz-code",
            "push-off",
            "bad-token",
            "bad-key",
            "needs-key",
            "cross-site",
            "foreign-host",
            "over-limit",
            "too-large",
            "unsupported-type",
            "unsupported-encoding",
            "bad-field",
            "bad-id",
            "bad-value",
            "bad-time",
            "too-old",
            "all-rejected",
            "partly-rejected",
            "token-unverified",
            "overloaded",
            "storage-full",
            "store-unavailable",
        ),
    },
)
async def push(request: Request) -> Response:
    """For push subscriptions, with the envelope or without. The answer comes after the readings are on disk.

    Any other answer than 204 lets Pub/Sub deliver the same again, which changes no number. What can never be taken is
    refused each time, until the subscription's dead-letter topic takes it: give it one.
    """
    services: Services = request.state.services
    try:
        return await _take(request, services)
    except HeatfleetError as error:
        services.metrics.rejected.labels(slug_of(error)).inc()
        raise


async def _take(request: Request, services: Services) -> Response:
    form = body_form(request.headers, None, pushed=True)
    services.ingest.check()
    decoders: Decoders = request.state.decoders
    with decoders.room.share() as take:
        body = await read_body(request.receive, form, take)
        now_ms = services.clock()
        batch = await decode_body(decoders, body, form, now_ms, services.store.oldest_ms(now_ms))
    if batch.readings:
        await services.ingest.write(batch.readings, WHO)
    count(services.metrics, [batch])
    if not batch.rejected:
        return Response(status_code=204)
    rejected = [Rejected.of(index, error) for index, error in batch.rejected]
    slug = "partly-rejected" if batch.messages else "all-rejected"
    return answer(slug, PROBLEMS[slug].advice, rejected=rejected)
