"""Google's clients for an address: with the credentials of the environment, or with none on this machine."""

import asyncio

import google.auth
import google.auth.exceptions
import grpc
import grpc.aio
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport, PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from heatfleet.domain.cloud import NO_CREDENTIALS
from heatfleet.errors import SetupError
from heatfleet.messaging.pubsub.address import Address, Subscribed

_OPTIONS = [
    # By itself gRPC waits up to two minutes before it looks again whether a server that was away has come back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Otherwise a new channel shares the connection of one that was given up, as long as that has calls on it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Pub/Sub takes messages of 10 MB and delivers several at once; by itself gRPC takes 4.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
]


async def open_channel(address: Address | Subscribed) -> grpc.aio.Channel:
    """A channel that connects once it is used; ``SetupError`` without credentials."""
    if address.emulator is not None:
        return grpc.aio.insecure_channel(address.emulator, options=_OPTIONS)
    scopes = PublisherGrpcAsyncIOTransport.AUTH_SCOPES
    try:
        # It may ask the machine's metadata server, so the loop does not wait for it.
        credentials, _ = await asyncio.to_thread(google.auth.default, scopes=scopes)
    except google.auth.exceptions.DefaultCredentialsError:
        raise SetupError(NO_CREDENTIALS) from None
    return PublisherGrpcAsyncIOTransport.create_channel(credentials=credentials, options=_OPTIONS)


def publisher_client(address: Address) -> PublisherClient:
    """For looking at topics, in a thread. ``SetupError`` without credentials."""
    if address.emulator is not None:
        channel = grpc.insecure_channel(address.emulator, _OPTIONS)
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    try:
        return PublisherClient()
    except google.auth.exceptions.DefaultCredentialsError:
        raise SetupError(NO_CREDENTIALS) from None


def subscriber_client(emulator: str | None) -> SubscriberClient:
    """For making subscriptions and looking at them, in a thread. ``SetupError`` without credentials."""
    if emulator is not None:
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(emulator, _OPTIONS)))
    try:
        return SubscriberClient()
    except google.auth.exceptions.DefaultCredentialsError:
        raise SetupError(NO_CREDENTIALS) from None
