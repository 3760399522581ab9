"""A subscription of Pub/Sub, at a server over gRPC: leases, bounds, and what becomes of messages at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from heatfleet.messaging.base import Received
from heatfleet.messaging.pubsub import subscription as module
from heatfleet.messaging.pubsub.address import Subscribed
from heatfleet.messaging.pubsub.subscription import PubSubSubscription
from tests.consuming import Feed, wait_for
from tests.pubsub_server import PubSubServer

WAIT_S = 30


@asynccontextmanager
async def subscribed(feed: Feed) -> AsyncIterator[tuple[PubSubSubscription, AsyncIterator[Sequence[Received]]]]:
    """One that pulls from the feed as long as the block lasts."""
    address = Subscribed.of(feed.subscription, bus="local:", emulator=feed.server.address)
    subscription = PubSubSubscription(address)
    try:
        yield subscription, subscription.deliveries()
    finally:
        await subscription.close()


async def some(deliveries: AsyncIterator[Sequence[Received]]) -> Sequence[Received]:
    return await asyncio.wait_for(anext(deliveries), WAIT_S)


async def until_acknowledged(feed: Feed) -> None:
    await asyncio.to_thread(wait_for, lambda: feed.waiting() == 0)


async def test_leases_are_kept(pubsub_server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that we have for longer than its lease is delivered to nobody else, until it is acknowledged."""
    monkeypatch.setattr(module, "LEASE_S", 1)
    monkeypatch.setattr(module, "KEEP_EVERY_S", 0.2)
    feed = Feed.at(pubsub_server)
    feed.publish([b"once"])
    async with subscribed(feed) as (subscription, deliveries):
        [received] = await some(deliveries)
        await asyncio.sleep(2.5)

        assert (b"once", 1) == (received.data, received.attempt)
        assert 1 == pubsub_server.attempts(feed.subscription)
        subscription.acknowledge([received])
        await until_acknowledged(feed)


async def test_no_more_is_read_than_fits(pubsub_server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nothing more is read until something is done with, whatever the server sends."""
    monkeypatch.setattr(module, "BYTES_MAX", 1000)
    feed = Feed.at(pubsub_server)
    feed.publish([b"x" * 300] * 1000)
    arrived: list[Received] = []
    async with subscribed(feed) as (subscription, deliveries):

        def more_than(count: int) -> Callable[[], bool]:
            return lambda: len(arrived) > count

        async def collect() -> None:
            async for received in deliveries:
                arrived.extend(received)

        collecting = asyncio.create_task(collect())
        done = 0
        while done < 1000:
            await asyncio.to_thread(wait_for, more_than(done))
            await asyncio.sleep(0.05)
            held = arrived[done:]
            assert len(held) <= 100, "as many as the server puts into one answer"
            done += len(held)
            subscription.acknowledge(held)
        await until_acknowledged(feed)
        collecting.cancel()


async def test_what_is_held_at_the_end_goes_to_others(
    pubsub_server: PubSubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not when its lease is over; what was acknowledged does not."""
    monkeypatch.setattr(module, "LEASE_S", 600)
    feed = Feed.at(pubsub_server)
    feed.publish([b"kept", b"done with"])
    async with subscribed(feed) as (subscription, deliveries):
        received = [*await some(deliveries)]
        while len(received) < 2:
            received += await some(deliveries)
        subscription.acknowledge([one for one in received if one.data == b"done with"])
    async with subscribed(feed) as (subscription, deliveries):
        again = await some(deliveries)

        assert [(b"kept", 2)] == [(one.data, one.attempt) for one in again]
        subscription.give_back(again)
        [third] = await some(deliveries)
        assert 3 == third.attempt
        subscription.acknowledge([third])
        await until_acknowledged(feed)
