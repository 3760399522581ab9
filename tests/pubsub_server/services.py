"""The methods of the API, as ``google.pubsub.v1`` names them, and the limits the real server enforces."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
from google.iam.v1 import iam_policy_pb2
from google.protobuf import empty_pb2
from google.pubsub_v1 import types
from grpc.aio import ServicerContext as Context

from tests.pubsub_server.broker import Broker, Queue, Subscription, Topic, raw
from tests.pubsub_server.faults import Faults

REQUEST_MESSAGES_MAX = 1_000
REQUEST_BYTES_MAX = 10_000_000
ATTRIBUTES_MAX = 100
ATTRIBUTE_NAME_BYTES_MAX = 256
VALUE_BYTES_MAX = 1_024
ACK_DEADLINE_S = range(10, 601)
PULL_WAIT_S = 1
ONE_KEY = (
    "In a single publish request, all messages must have no ordering key or they must all have the same ordering key. "
    "[code=539b]"
)
EMPTY = "Some messages in the publish are empty. Each message must contain either non-empty data or an attribute."


class Services:
    """The gRPC handlers over one broker. ``denied`` holds the permissions that the caller does not have."""

    def __init__(self, broker: Broker, faults: Faults) -> None:
        self.broker = broker
        self.faults = faults
        self.denied: set[str] = set()
        self.calls: dict[str, int] = {}

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a ``grpc.aio`` server is given."""
        publisher = {
            "CreateTopic": (self.create_topic, Topic),
            "GetTopic": (self.get_topic, raw(types.GetTopicRequest)),
            "ListTopics": (self.list_topics, raw(types.ListTopicsRequest)),
            "DeleteTopic": (self.delete_topic, raw(types.DeleteTopicRequest)),
            "ListTopicSubscriptions": (self.list_topic_subscriptions, raw(types.ListTopicSubscriptionsRequest)),
            "Publish": (self.publish, raw(types.PublishRequest)),
        }
        subscriber = {
            "CreateSubscription": (self.create_subscription, Subscription),
            "GetSubscription": (self.get_subscription, raw(types.GetSubscriptionRequest)),
            "ListSubscriptions": (self.list_subscriptions, raw(types.ListSubscriptionsRequest)),
            "UpdateSubscription": (self.update_subscription, raw(types.UpdateSubscriptionRequest)),
            "DeleteSubscription": (self.delete_subscription, raw(types.DeleteSubscriptionRequest)),
            "Pull": (self.pull, raw(types.PullRequest)),
            "Acknowledge": (self.acknowledge, raw(types.AcknowledgeRequest)),
            "ModifyAckDeadline": (self.modify_ack_deadline, raw(types.ModifyAckDeadlineRequest)),
        }
        iam = {"TestIamPermissions": (self.iam_permissions, iam_policy_pb2.TestIamPermissionsRequest)}
        streams = {
            "StreamingPull": grpc.stream_stream_rpc_method_handler(
                self.streaming_pull,
                request_deserializer=raw(types.StreamingPullRequest).FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
        }
        return [
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", self._unary(publisher)),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", self._unary(subscriber) | streams),
            grpc.method_handlers_generic_handler("google.iam.v1.IAMPolicy", self._unary(iam)),
        ]

    async def create_topic(self, topic: Any, context: Context) -> Any:
        if topic.name in self.broker.topics:
            await context.abort(
                grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists in the project ({topic.name})."
            )
        self.broker.topics[topic.name] = topic
        return topic

    async def get_topic(self, request: Any, context: Context) -> Any:
        return await self._found(self.broker.topics, request.topic, context)

    async def list_topics(self, request: Any, context: Context) -> Any:
        topics = [topic for name, topic in self.broker.topics.items() if name.startswith(f"{request.project}/")]
        return raw(types.ListTopicsResponse)(topics=topics)

    async def delete_topic(self, request: Any, context: Context) -> Any:
        await self._found(self.broker.topics, request.topic, context)
        self.broker.forget_topic(request.topic)
        return empty_pb2.Empty()

    async def list_topic_subscriptions(self, request: Any, context: Context) -> Any:
        await self._found(self.broker.topics, request.topic, context)
        names = [queue.subscription.name for queue in self.broker.queues_of(request.topic)]
        return raw(types.ListTopicSubscriptionsResponse)(subscriptions=names)

    async def publish(self, request: Any, context: Context) -> Any:
        await self._found(self.broker.topics, request.topic, context)
        for code, trouble in troubles(request):
            await context.abort(code, trouble)
        return raw(types.PublishResponse)(message_ids=self.broker.publish(request.topic, request.messages))

    async def create_subscription(self, subscription: Any, context: Context) -> Any:
        await self._found(self.broker.topics, subscription.topic, context)
        if subscription.name in self.broker.queues:
            words = f"Resource already exists in the project ({subscription.name})."
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, words)
        subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or 10
        if subscription.ack_deadline_seconds not in ACK_DEADLINE_S:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid ack deadline: 10 to 600 seconds.")
        self.broker.subscribe(subscription)
        return subscription

    async def get_subscription(self, request: Any, context: Context) -> Any:
        return (await self._queue(request.subscription, context)).subscription

    async def list_subscriptions(self, request: Any, context: Context) -> Any:
        queues = [queue for name, queue in self.broker.queues.items() if name.startswith(f"{request.project}/")]
        return raw(types.ListSubscriptionsResponse)(subscriptions=[queue.subscription for queue in queues])

    async def update_subscription(self, request: Any, context: Context) -> Any:
        queue = await self._queue(request.subscription.name, context)
        request.update_mask.MergeMessage(request.subscription, queue.subscription, replace_message_field=True)
        return queue.subscription

    async def delete_subscription(self, request: Any, context: Context) -> Any:
        await self._queue(request.subscription, context)
        del self.broker.queues[request.subscription]
        return empty_pb2.Empty()

    async def pull(self, request: Any, context: Context) -> Any:
        queue = await self._queue(request.subscription, context)
        lease_s = queue.subscription.ack_deadline_seconds
        if not (messages := queue.take(request.max_messages, lease_s)):
            await wait_for(queue.news, PULL_WAIT_S)
            messages = queue.take(request.max_messages, lease_s)
        return raw(types.PullResponse)(received_messages=messages)

    async def acknowledge(self, request: Any, context: Context) -> Any:
        queue = await self._queue(request.subscription, context)
        for ack_id in request.ack_ids:
            queue.acknowledge(ack_id)
        return empty_pb2.Empty()

    async def modify_ack_deadline(self, request: Any, context: Context) -> Any:
        queue = await self._queue(request.subscription, context)
        for ack_id in request.ack_ids:
            queue.extend(ack_id, request.ack_deadline_seconds)
        return empty_pb2.Empty()

    async def streaming_pull(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Leases outlive the stream: a client sends its last acknowledgements after it has closed it."""
        first = await anext(requests)
        self.calls["StreamingPull"] = self.calls.get("StreamingPull", 0) + 1
        if fault := self.faults.hit("StreamingPull"):
            await fault.strike(context)
        queue = await self._queue(first.subscription, context)
        holder = object()
        listening = asyncio.create_task(self._listen(requests, queue))
        try:
            while not listening.done():
                news = queue.news
                room = (first.max_outstanding_messages or REQUEST_MESSAGES_MAX) - queue.held_by(holder)
                if messages := queue.take(min(room, 100), first.stream_ack_deadline_seconds or 10, holder):
                    yield raw(types.StreamingPullResponse)(received_messages=messages)
                else:  # an acknowledgement makes room and rings no bell
                    await wait_for(news, 0.02)
        finally:
            listening.cancel()

    async def iam_permissions(self, request: Any, context: Context) -> Any:
        granted = [permission for permission in request.permissions if permission not in self.denied]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    def _unary(self, methods: dict[str, tuple[Callable[..., Any], Any]]) -> dict[str, grpc.RpcMethodHandler]:
        return {
            name: grpc.unary_unary_rpc_method_handler(
                partial(self._call, name, method),
                request_deserializer=kind.FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            for name, (method, kind) in methods.items()
        }

    async def _call(self, name: str, method: Callable[..., Any], request: Any, context: Context) -> Any:
        self.calls[name] = self.calls.get(name, 0) + 1
        key = request.messages[0].ordering_key if name == "Publish" and request.messages else None
        fault = self.faults.hit(name, key)
        if fault and not fault.done:
            await fault.strike(context)
        answer = await method(request, context)
        if fault and fault.done:
            await fault.strike(context)
        return answer

    async def _listen(self, requests: AsyncIterator[Any], queue: Queue) -> None:
        async for request in requests:
            for ack_id in request.ack_ids:
                queue.acknowledge(ack_id)
            for ack_id, lease_s in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
                queue.extend(ack_id, lease_s)

    async def _queue(self, name: str, context: Context) -> Queue:
        queue: Queue = await self._found(self.broker.queues, name, context)
        return queue

    async def _found(self, kept: dict[str, Any], name: str, context: Context) -> Any:
        if name not in kept:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")
        return kept[name]


def troubles(request: Any) -> list[tuple[grpc.StatusCode, str]]:
    """What the real server says of a request to publish that it does not take."""
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    found = []
    if not 1 <= len(request.messages) <= REQUEST_MESSAGES_MAX:
        found.append((invalid, f"The value for message_count is not 1 to 1000: {len(request.messages)}."))
    if request.ByteSize() > REQUEST_BYTES_MAX:
        found.append((invalid, f"Request payload size exceeds the limit: {REQUEST_BYTES_MAX} bytes."))
    if len({message.ordering_key for message in request.messages}) > 1:
        found.append((grpc.StatusCode.FAILED_PRECONDITION, ONE_KEY))
    for message in request.messages:
        if not message.data and not message.attributes:
            found.append((invalid, EMPTY))
        texts = [message.ordering_key, *message.attributes.values()]
        if (
            len(message.attributes) > ATTRIBUTES_MAX
            or any(len(name.encode()) > ATTRIBUTE_NAME_BYTES_MAX for name in message.attributes)
            or any(len(text.encode()) > VALUE_BYTES_MAX for text in texts)
        ):
            found.append((invalid, "An attribute or ordering key is too long, or there are too many attributes."))
    return found


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, but not for ever."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
