"""The bus ``pubsub://PROJECT/TOPIC``."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import msgspec
import structlog
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable, SetupError
from heatfleet.messaging.pubsub.address import Address
from heatfleet.messaging.pubsub.connect import open_channel
from heatfleet.messaging.pubsub.topic import look_at
from heatfleet.messaging.pubsub.words import RETRIED, trouble_of

CALLS_MAX = 500
"""Requests that may be under way. A server lets a hundred or so share a connection; the others are next."""
REQUEST_MESSAGES_MAX = 1_000
"""Pub/Sub's own limit. Its other one, 10 MB, is out of reach: an order takes less than a kilobyte."""
PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
TELL_AGAIN_S = 60
PATIENCE_S = 10
"""With other calls on a connection that one call gave up: their deadlines are their own."""

_CLOSING = BusUnavailable("the server is closing; the order was not sent, try again")
_EXPIRED = BusUnavailable("the order expired before Pub/Sub accepted it; it is not sent, try again")
_LATE = BusUnavailable("Pub/Sub did not accept the order in time; it is not sent, try again")
_MAY_GO_BY = BusUnavailable("Pub/Sub does not accept the order now")

# The messages behind the library's wrappers: those cost several times as much to make.
_PublishRequest = type(types.PublishRequest.pb(types.PublishRequest()))

log = structlog.get_logger(__name__)


class PubSubBus:
    """Publishes each order as a message whose ordering key is its device; the attributes carry its id and its life.

    Pub/Sub takes one ordering key a request: orders of several devices are as many requests, many under way at a time.
    What may go by is tried again until the deadline, or until the order has expired; what will not is refused at once.
    So an order may be published twice, when the first answer was lost, and one whose answer came too late is refused
    although it was published: subscribers tell by ``command_id`` what they have had. An expired order is not published.
    Nothing pauses a device whose order failed: the next one is tried like any other.
    """

    def __init__(self, address: Address, *, clock: Callable[[], int]) -> None:
        self.trouble: BusUnavailable | None = None
        self._address = address
        self._clock = clock
        self._metadata = (to_grpc_metadata({"topic": address.path}),)  # type: ignore[no-untyped-call]
        self._open = True
        self._places = asyncio.Semaphore(CALLS_MAX)
        self._connecting = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._publish: Callable[..., grpc.aio.UnaryUnaryCall] | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        self._heard_s = self._connected_s = 0.0
        self._last_words = ""
        self._told_s: dict[str, float] = {}

    async def publish_many(self, commands: Sequence[Command], *, timeout_s: float) -> Sequence[BusUnavailable | None]:
        """Publish the orders, those of different devices side by side; see ``Bus``."""
        if not self._open:
            return [_CLOSING] * len(commands)
        began_s = asyncio.get_running_loop().time()
        answers: list[BusUnavailable | None] = [_LATE] * len(commands)
        by_device: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            by_device.setdefault(command.device_id, []).append(place)
        devices = iter(by_device.values())

        async def carry_one_after_the_other() -> None:
            for places in devices:
                for first in range(0, len(places), REQUEST_MESSAGES_MAX):
                    await self._carry(
                        commands, places[first : first + REQUEST_MESSAGES_MAX], answers, began_s + timeout_s
                    )

        try:
            async with asyncio.timeout_at(began_s + timeout_s), asyncio.TaskGroup() as group:
                for _ in range(min(len(by_device), CALLS_MAX)):
                    group.create_task(carry_one_after_the_other())
        except TimeoutError:
            if max(self._heard_s, self._connected_s) < began_s:
                # No call was answered since: the connection may be dead without anybody having said so.
                self._let_go(grace_s=PATIENCE_S)
        self._note(answers, self._last_words if self._heard_s >= began_s else "no answer")
        return answers

    async def check(self) -> str:
        """Whether the topic is there and somebody listens, as far as this service may look."""
        return (await asyncio.to_thread(look_at, self._address)).trouble

    async def close(self) -> None:
        """Break off what is under way; every order from now on is refused."""
        self._open = False
        self._let_go(grace_s=None)
        await asyncio.gather(*self._letting_go)

    async def _carry(
        self, commands: Sequence[Command], places: list[int], answers: list[BusUnavailable | None], deadline_s: float
    ) -> None:
        """Publish the orders at these places, all of one device, and put down at each what became of it."""
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S
        while True:
            async with self._places:
                now_ms = self._clock()
                for place in places:
                    answers[place] = answers[place] if now_ms < commands[place].expires_at_ms else _EXPIRED
                places = [place for place in places if answers[place] is not _EXPIRED]
                if not places:
                    return
                live = [commands[place] for place in places]
                life_s = (min(command.expires_at_ms for command in live) - now_ms) / 1000
                said = await self._send(live, min(deadline_s - loop.time(), life_s))
            if said is not _MAY_GO_BY:
                break
            await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311  # not all come back at once
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        for place in places:
            answers[place] = said

    async def _send(self, commands: Sequence[Command], timeout_s: float) -> BusUnavailable | None:
        """One request; ``None`` once Pub/Sub has the orders, ``_MAY_GO_BY`` for what is worth another try."""
        request = request_of(self._address.path, commands)
        try:
            publish = await self._connected()
            await publish(request, timeout=timeout_s, metadata=self._metadata)
        except SetupError as error:
            return BusUnavailable(str(error))
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self._heard_s = asyncio.get_running_loop().time()
            self._last_words = f"{code.name}: {error.details()}"
            if not self._open:
                return _CLOSING
            return _MAY_GO_BY if code in RETRIED else BusUnavailable(trouble_of(code))
        self._heard_s = asyncio.get_running_loop().time()
        return None

    async def _connected(self) -> Callable[..., grpc.aio.UnaryUnaryCall]:
        """The call that publishes; connects when it is first used, and after the connection was let go."""
        async with self._connecting:
            if self._publish is None:
                self._channel = await open_channel(self._address)
                self._connected_s = asyncio.get_running_loop().time()
                self._publish = PublisherGrpcAsyncIOTransport(channel=self._channel).publish
            return self._publish

    def _let_go(self, *, grace_s: float | None) -> None:
        """Close the connection once its calls are over, or this much later; the next order makes a new one."""
        channel, self._channel, self._publish = self._channel, None, None
        if channel is not None:
            closing = asyncio.create_task(channel.close(grace_s))
            self._letting_go.add(closing)
            closing.add_done_callback(self._letting_go.discard)

    def _note(self, answers: Sequence[BusUnavailable | None], last_words: str) -> None:
        """Remember whether orders come through, and tell the log of it, though not for each order."""
        refusals = [answer for answer in answers if answer not in (None, _EXPIRED)]
        if answers and not refusals:
            self.trouble = None
        for refusal in refusals[:1]:
            self.trouble = refusal
            now_s = asyncio.get_running_loop().time()
            if now_s - self._told_s.get(str(refusal), -TELL_AGAIN_S) >= TELL_AGAIN_S:
                self._told_s[str(refusal)] = now_s
                log.warning("Pub/Sub does not take orders", reason=str(refusal), last_words=last_words)


def request_of(topic: str, commands: Sequence[Command]) -> Any:
    """What is sent to Pub/Sub: a protobuf ``PublishRequest`` with a message for each order."""
    request = _PublishRequest(topic=topic)
    for command in commands:
        request.messages.add(
            data=msgspec.json.encode(command.message()),
            attributes=command.attributes(),
            ordering_key=command.device_id,
        )
    return request
