"""What the server keeps: topics, their subscriptions, and for each of those what still has to be delivered."""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.pubsub_v1 import types


def raw(kind: Any) -> Any:
    """The protobuf class behind one of the client library's."""
    return type(kind.pb(kind()))


PubsubMessage = raw(types.PubsubMessage)
ReceivedMessage = raw(types.ReceivedMessage)
Subscription = raw(types.Subscription)
Topic = raw(types.Topic)


@dataclass
class Lease:
    """A message that somebody has and did not acknowledge yet."""

    message: Any
    until_s: float
    holder: object


class Queue:
    """What one subscription still has to deliver."""

    def __init__(self, subscription: Any, bury: Callable[[str, Any], object]) -> None:
        self.subscription = subscription
        self._bury = bury
        self._attempts: Counter[str] = Counter()  # by message; kept where there are dead letters
        self._ready: deque[Any] = deque()
        self._behind: dict[str, deque[Any]] = {}  # by key that is ready or leased: what comes after
        self._leases: dict[str, Lease] = {}
        self._numbers = itertools.count(1)
        self.news = asyncio.Event()

    def __len__(self) -> int:
        """Messages not acknowledged."""
        return len(self._ready) + len(self._leases) + sum(map(len, self._behind.values()))

    @property
    def attempts(self) -> int:
        """How often a message that is not acknowledged was delivered, at most; 0 without a dead-letter policy."""
        return max(self._attempts.values(), default=0)

    def held_by(self, holder: object) -> int:
        """Messages this one has and did not acknowledge."""
        return sum(lease.holder is holder for lease in self._leases.values())

    def put(self, message: Any) -> None:
        key = self._key(message)
        if key and key in self._behind:
            self._behind[key].append(message)
            return
        if key:
            self._behind[key] = deque()
        self._ready.append(message)
        self._tell()

    def take(self, limit: int, lease_s: float, holder: object = None) -> list[Any]:
        """Lease up to so many messages, the oldest first."""
        taken = []
        for _ in range(min(limit, len(self._ready))):
            message = self._ready.popleft()
            ack_id = f"{self.subscription.name}#{next(self._numbers)}"
            self._leases[ack_id] = Lease(message, time.monotonic() + lease_s, holder)
            attempt = 0
            if self.subscription.dead_letter_policy.dead_letter_topic:
                self._attempts[message.message_id] += 1
                attempt = self._attempts[message.message_id]
            taken.append(ReceivedMessage(ack_id=ack_id, message=message, delivery_attempt=attempt))
        return taken

    def acknowledge(self, ack_id: str) -> None:
        """It is done with; nothing happens when the lease was over before."""
        if lease := self._leases.pop(ack_id, None):
            self._attempts.pop(lease.message.message_id, None)
            key = self._key(lease.message)
            if key and self._behind[key]:
                self._ready.append(self._behind[key].popleft())
                self._tell()
            elif key:
                del self._behind[key]

    def extend(self, ack_id: str, lease_s: float) -> None:
        """Keep the lease for so long from now; 0 gives the message back, before all others of its key.

        One that was delivered as often as the dead-letter policy allows goes to the dead-letter topic instead.
        """
        if lease_s > 0 and ack_id in self._leases:
            self._leases[ack_id].until_s = time.monotonic() + lease_s
        elif ack_id in self._leases and self._has_had_its_attempts(self._leases[ack_id].message):
            self._bury(self.subscription.dead_letter_policy.dead_letter_topic, self._leases[ack_id].message)
            self.acknowledge(ack_id)
        elif lease := self._leases.pop(ack_id, None):
            self._ready.appendleft(lease.message)
            self._tell()

    def expire(self, now_s: float) -> None:
        """Take back what was leased until before this time, so that the oldest comes first again."""
        for ack_id in reversed([ack_id for ack_id, lease in self._leases.items() if lease.until_s < now_s]):
            self.extend(ack_id, 0)

    def _has_had_its_attempts(self, message: Any) -> bool:
        policy = self.subscription.dead_letter_policy
        return bool(policy.dead_letter_topic) and self._attempts[message.message_id] >= policy.max_delivery_attempts

    def _key(self, message: Any) -> str:
        return message.ordering_key if self.subscription.enable_message_ordering else ""

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Broker:
    """All of it; outlives a restart of the server that shows it."""

    def __init__(self) -> None:
        self.topics: dict[str, Any] = {}
        self.queues: dict[str, Queue] = {}
        self.published: dict[str, list[Any]] = {}
        self.keep_published = True
        self.taken = 0
        self._message_ids = itertools.count(1)

    def publish(self, topic: str, messages: Iterator[Any]) -> list[str]:
        """Keep the messages for each subscription of the topic; without one they are gone."""
        queues = self.queues_of(topic)
        ids = []
        for message in messages:
            message.message_id = str(next(self._message_ids))
            message.publish_time.FromNanoseconds(time.time_ns())
            ids.append(message.message_id)
            self.taken += 1
            if self.keep_published:
                self.published.setdefault(topic, []).append(message)
            for queue in queues:
                queue.put(message)
        return ids

    def subscribe(self, subscription: Any) -> None:
        """Keep for it whatever is published from now on."""
        self.queues[subscription.name] = Queue(subscription, self._bury)

    def _bury(self, topic: str, message: Any) -> None:
        self.publish(topic, iter([PubsubMessage(data=message.data, attributes=message.attributes)]))

    def queues_of(self, topic: str) -> list[Queue]:
        return [queue for queue in self.queues.values() if queue.subscription.topic == topic]

    def forget_topic(self, topic: str) -> None:
        """The subscriptions stay, and say that their topic was deleted, as the real ones do."""
        for queue in self.queues_of(topic):
            queue.subscription.topic = "_deleted-topic_"
        del self.topics[topic]

    async def expire_leases(self) -> None:
        """Look after leases, for ever."""
        while True:
            await asyncio.sleep(0.1)
            for queue in self.queues.values():
                queue.expire(time.monotonic())
