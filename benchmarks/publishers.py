"""Ways to publish orders on a topic: ours, Google's, and two that show where the time goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import uvloop
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import PublisherOptions
from google.pubsub_v1 import PublisherAsyncClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport, PublisherGrpcTransport

from heatfleet.domain.commands import Command
from heatfleet.messaging import open_bus
from heatfleet.messaging.pubsub.bus import CALLS_MAX, request_of

Publish = Callable[[str, str, Sequence[Command]], None]
"""Publishes the orders on a topic (``projects/P/topics/T``) of a server, and returns when it has accepted all."""

REQUEST_ORDERS = 1_000
CALL_S = 60
PATH = "/google.pubsub.v1.Publisher/Publish"


def heatfleet(address: str, topic: str, orders: Sequence[Command]) -> None:
    """As POST /send does it with a thousand orders a request, several at a time."""
    _, project, _, name = topic.split("/")

    async def publish() -> None:
        bus = open_bus(f"pubsub://{project}/{name}?emulator={address}", clock=lambda: 0)
        parts = [orders[first : first + REQUEST_ORDERS] for first in range(0, len(orders), REQUEST_ORDERS)]
        answers = await asyncio.gather(*(bus.publish_many(part, timeout_s=10 * CALL_S) for part in parts))
        await bus.close()
        if refusal := next(filter(None, (one for answer in answers for one in answer)), None):
            raise refusal

    uvloop.run(publish())


def google_batching(address: str, topic: str, orders: Sequence[Command]) -> None:
    """Google's publisher as its documentation says to use it, with message ordering."""
    transport = PublisherGrpcTransport(channel=grpc.insecure_channel(address))
    options = PublisherOptions(enable_message_ordering=True)
    with PublisherClient(publisher_options=options, transport=transport) as publisher:
        futures = [publisher.publish(topic, *_parts(order), **order.attributes()) for order in orders]
        for future in futures:
            future.result(CALL_S)


def google_async(address: str, topic: str, orders: Sequence[Command]) -> None:
    """Google's generated client on the event loop, a request for each order."""

    def call_of(channel: grpc.aio.Channel) -> Callable[[Command], Awaitable[Any]]:
        client = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        return lambda order: client.publish(
            types.PublishRequest.wrap(request_of(topic, [order])), retry=None, timeout=CALL_S
        )

    uvloop.run(_side_by_side(address, call_of, orders))


def bare_call(address: str, topic: str, orders: Sequence[Command]) -> None:
    """A call of gRPC for each order, and nothing else: the bytes are the same each time."""
    ready = request_of(topic, orders[:1]).SerializeToString()

    def call_of(channel: grpc.aio.Channel) -> Callable[[Command], Awaitable[Any]]:
        call = channel.unary_unary(PATH)
        return lambda _: call(ready, timeout=CALL_S)

    uvloop.run(_side_by_side(address, call_of, orders))


def without_keys(address: str, topic: str, orders: Sequence[Command]) -> None:
    """A thousand messages a request, which may have no ordering keys then."""

    def call_of(channel: grpc.aio.Channel) -> Callable[[Sequence[Command]], Awaitable[Any]]:
        call = channel.unary_unary(PATH)

        def publish(part: Sequence[Command]) -> Awaitable[Any]:
            request = request_of(topic, part)
            for message in request.messages:
                message.ordering_key = ""
            answer: Awaitable[Any] = call(request.SerializeToString(), timeout=CALL_S)
            return answer

        return publish

    parts = [orders[first : first + REQUEST_ORDERS] for first in range(0, len(orders), REQUEST_ORDERS)]
    uvloop.run(_side_by_side(address, call_of, parts))


WAYS: dict[str, Publish] = {
    "heatfleet": heatfleet,
    "Google's PublisherClient": google_batching,
    "Google's PublisherAsyncClient": google_async,
    "gRPC alone, the same bytes": bare_call,
    "1,000 a request, no order": without_keys,
}


async def _side_by_side(address: str, call_of: Callable[[Any], Callable[[Any], Awaitable[Any]]], work: Any) -> None:
    todo = iter(work)
    async with grpc.aio.insecure_channel(address) as channel:
        call = call_of(channel)

        async def one_after_the_other() -> None:
            for one in todo:
                await call(one)

        await asyncio.gather(*(one_after_the_other() for _ in range(CALLS_MAX)))


def _parts(order: Command) -> tuple[bytes, str]:
    message = request_of("", [order]).messages[0]
    return message.data, message.ordering_key
