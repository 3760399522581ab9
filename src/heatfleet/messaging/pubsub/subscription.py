"""A subscription of Pub/Sub: messages by streaming pull, with leases that are kept until we are done with each."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
import structlog
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from grpc import StatusCode

from heatfleet.errors import SetupError, StoreUnavailable
from heatfleet.messaging.base import Received
from heatfleet.messaging.pubsub.address import Subscribed
from heatfleet.messaging.pubsub.connect import open_channel
from heatfleet.messaging.pubsub.words import RETRIED

MESSAGES_MAX = 10_000
BYTES_MAX = 64 * 1024 * 1024
"""Messages under way, and their bytes: Pub/Sub delivers no more to one stream, and we read no more."""
LEASE_S = 20
"""After a crash others wait so long for what we had."""
KEEP_EVERY_S = 5.0
"""How often leases are extended."""
IDS_MAX = 1_000
"""Of messages in one request: it may have 512 KiB, and an id has some 200 bytes."""
CALL_S = 10
CLOSE_S = 3
CALLS_MAX = 8
PAUSE_S, PAUSE_MAX_S = 0.1, 10.0
TELL_AGAIN_S = 60

_WORDS = {
    StatusCode.NOT_FOUND: "there is no such Pub/Sub subscription; create it, or: heatfleet cloud init",
    StatusCode.PERMISSION_DENIED: "the service may not read the Pub/Sub subscription; grant its account "
    "roles/pubsub.subscriber there",
    StatusCode.UNAUTHENTICATED: "Pub/Sub does not accept the service's Google credentials; renew them",
    StatusCode.FAILED_PRECONDITION: "Pub/Sub does not let us pull: is this a push subscription?",
}

log = structlog.get_logger(__name__)


def _raw(kind: Any) -> Any:
    """The message behind one of the library's wrappers, which cost several times as much."""
    return type(kind.pb(kind()))


_PullRequest, _AckRequest, _ModifyRequest, _GetRequest = map(
    _raw,
    (
        types.StreamingPullRequest,
        types.AcknowledgeRequest,
        types.ModifyAckDeadlineRequest,
        types.GetSubscriptionRequest,
    ),
)


class PubSubSubscription:
    """``messaging.base.Subscription`` by one stream. What was acknowledged is told in requests of many messages."""

    def __init__(self, address: Subscribed) -> None:
        self._address = address
        self._metadata = (("x-goog-request-params", f"subscription={address.path}"),)
        self._held: dict[str, Received] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._done: list[str] = []
        self._back: list[str] = []
        self._news = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._transport: Any = None
        self._stream: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(CALLS_MAX)
        self._told_s = float(-TELL_AGAIN_S)

    async def has_dead_letters(self) -> bool | None:
        """See ``Subscription.has_dead_letters``."""
        await self._connect()
        request = _GetRequest(subscription=self._address.path)
        try:
            found = await self._transport.get_subscription(request, timeout=CALL_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is StatusCode.PERMISSION_DENIED:
                return None
            if error.code() in RETRIED:
                raise StoreUnavailable(f"Pub/Sub does not answer ({error.code().name}); try again later") from None
            raise _unusable(error) from None
        return bool(found.dead_letter_policy.dead_letter_topic)

    async def deliveries(self) -> AsyncIterator[Sequence[Received]]:
        """See ``Subscription.deliveries``."""
        await self._connect()
        self._tasks = [asyncio.create_task(self._keep_leases()), asyncio.create_task(self._tell())]
        pause_s, ever = float(PAUSE_S), False
        while True:
            try:
                async for some in self._pull():
                    pause_s, ever = PAUSE_S, True
                    yield some
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRIED and not ever:
                    raise _unusable(error) from None
                self._note(error, pause_s)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  # not all come back at once
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _pull(self) -> AsyncIterator[Sequence[Received]]:
        """What one stream delivers, until it ends or breaks."""
        stream = self._stream = self._transport.streaming_pull(metadata=self._metadata)
        try:
            await stream.write(
                _PullRequest(
                    subscription=self._address.path,
                    stream_ack_deadline_seconds=LEASE_S,
                    max_outstanding_messages=MESSAGES_MAX,
                    max_outstanding_bytes=BYTES_MAX,
                )
            )
            while (answer := await stream.read()) is not grpc.aio.EOF:
                some = [_received(one) for one in answer._pb.received_messages]  # noqa: SLF001 - see _raw
                for one in some:
                    self._held[one.handle] = one
                    self._bytes += len(one.data)
                if some:
                    yield some
                while len(self._held) >= MESSAGES_MAX or self._bytes >= BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._stream = None
            stream.cancel()

    def acknowledge(self, received: Sequence[Received]) -> None:
        """See ``Subscription.acknowledge``."""
        self._forget(received, self._done)

    def give_back(self, received: Sequence[Received]) -> None:
        """See ``Subscription.give_back``."""
        self._forget(received, self._back)

    def _forget(self, received: Sequence[Received], told: list[str]) -> None:
        for one in received:
            if self._held.pop(one.handle, None) is not None:
                self._bytes -= len(one.data)
                told.append(one.handle)
        self._room.set()
        self._news.set()

    async def close(self) -> None:
        """See ``Subscription.close``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._stream is not None:
            self._stream.cancel()  # or what is given back would come again at once, and to us
        self.give_back(list(self._held.values()))
        if self._channel is not None:
            self._tell_all()
            if self._telling:
                await asyncio.wait(self._telling, timeout=CLOSE_S)
            await self._channel.close()

    async def _connect(self) -> None:
        if self._channel is None:
            self._channel = await open_channel(self._address)
            self._transport = SubscriberGrpcAsyncIOTransport(channel=self._channel)

    async def _keep_leases(self) -> None:
        """Extend the leases of all that is held, again and again."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            if self._stream is not None:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await self._stream.write(_PullRequest())  # for those in between who close what is quiet
            self._tell_of(list(self._held), self._extended)

    async def _tell(self) -> None:
        """Tell Pub/Sub what is done with; while requests are under way, more gathers for the next."""
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._places:
                self._tell_all()

    def _tell_all(self) -> None:
        done, self._done = self._done, []
        back, self._back = self._back, []
        self._tell_of(done, self._acknowledged)
        self._tell_of(back, self._given_back)

    def _tell_of(self, ids: Sequence[str], call: Callable[[Sequence[str]], Any]) -> None:
        for start in range(0, len(ids), IDS_MAX):
            telling = asyncio.create_task(self._told(call, ids[start : start + IDS_MAX]))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _told(self, call: Callable[[Sequence[str]], Any], ids: Sequence[str]) -> None:
        """One request, tried twice; of what is not heard, the messages come again."""
        async with self._places:
            for _ in range(2):
                try:
                    await call(ids)
                except grpc.aio.AioRpcError as error:
                    self._note(error, PAUSE_MAX_S)
                else:
                    return

    def _acknowledged(self, ids: Sequence[str]) -> Any:
        request = _AckRequest(subscription=self._address.path, ack_ids=ids)
        return self._transport.acknowledge(request, timeout=CALL_S, metadata=self._metadata)

    def _extended(self, ids: Sequence[str], lease_s: int = LEASE_S) -> Any:
        request = _ModifyRequest(subscription=self._address.path, ack_ids=ids, ack_deadline_seconds=lease_s)
        return self._transport.modify_ack_deadline(request, timeout=CALL_S, metadata=self._metadata)

    def _given_back(self, ids: Sequence[str]) -> Any:
        return self._extended(ids, 0)

    def _note(self, error: grpc.aio.AioRpcError, pause_s: float) -> None:
        """Tell the log, though not of a stream that is only made anew, as Pub/Sub asks for every now and then."""
        now_s = asyncio.get_running_loop().time()
        if pause_s > PAUSE_S and now_s - self._told_s >= TELL_AGAIN_S:
            self._told_s = now_s
            log.warning("Pub/Sub does not answer; trying again", code=error.code().name, last_words=error.details())


def _received(one: Any) -> Received:
    message = one.message
    published_ms = message.publish_time.seconds * 1000 + message.publish_time.nanos // 1_000_000
    return Received(message.data, message.message_id, published_ms, one.delivery_attempt, one.ack_id)


def _unusable(error: grpc.aio.AioRpcError) -> SetupError:
    code = error.code()
    return SetupError(_WORDS.get(code, f"Pub/Sub refuses the subscription: {code.name}: {error.details()}"))
