"""Whether the topic is there, and whether anybody listens: a message without a subscription is gone unheard."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.api_core import exceptions
from google.iam.v1 import iam_policy_pb2
from grpc import StatusCode

from heatfleet.errors import SetupError
from heatfleet.messaging.pubsub.address import Address
from heatfleet.messaging.pubsub.connect import publisher_client
from heatfleet.messaging.pubsub.words import NO_SUBSCRIPTION, trouble_of

LOOK_S = 10


@dataclass(frozen=True, slots=True)
class TopicState:
    """What can be seen of a topic.

    ``exists`` and ``subscriptions`` (their names in full) are ``None`` where that could not be seen. ``trouble`` is
    what keeps orders from being carried, with what to do, empty if nothing is known to. ``unseen`` says why something
    could not be seen, empty if all could: whoever may only publish may not look.
    """

    exists: bool | None
    subscriptions: tuple[str, ...] | None
    trouble: str = ""
    unseen: str = ""


def look_at(address: Address) -> TopicState:
    """What can be seen of the topic now; never raises for what Pub/Sub answers. It takes ``LOOK_S`` at most, twice."""
    try:
        client = publisher_client(address)
    except SetupError as error:
        return TopicState(None, None, trouble=str(error))
    with client:
        try:
            client.get_topic(topic=address.path, retry=None, timeout=LOOK_S)
            found = tuple(client.list_topic_subscriptions(topic=address.path, retry=None, timeout=LOOK_S))
        except exceptions.NotFound:
            return TopicState(exists=False, subscriptions=None, trouble=trouble_of(StatusCode.NOT_FOUND))
        except exceptions.Unauthenticated:
            return TopicState(None, None, trouble=trouble_of(StatusCode.UNAUTHENTICATED))
        except exceptions.Forbidden:
            return TopicState(None, None, unseen="the service may not look at the topic; roles/pubsub.viewer lets it")
        except exceptions.GoogleAPIError as error:
            return TopicState(None, None, unseen=f"Pub/Sub does not answer ({type(error).__name__})")
    return TopicState(exists=True, subscriptions=found, trouble="" if found else NO_SUBSCRIPTION)


def denied(address: Address, permissions: Iterable[str]) -> list[str]:
    """Those of the permissions, such as ``pubsub.topics.publish``, that this caller does not have on the topic.

    Raises ``google.api_core.exceptions.GoogleAPIError`` when Pub/Sub does not say, and ``SetupError`` without
    credentials.
    """
    asked = list(permissions)
    request = iam_policy_pb2.TestIamPermissionsRequest(resource=address.path, permissions=asked)
    with publisher_client(address) as client:
        granted = set(client.test_iam_permissions(request=request, timeout=LOOK_S).permissions)
    return [permission for permission in asked if permission not in granted]
