"""What can be seen of a topic, whatever Pub/Sub answers: a server that starts asks, and so does `heatfleet doctor`."""

import pytest

from heatfleet.messaging.pubsub.address import Address
from heatfleet.messaging.pubsub.topic import denied, look_at
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import PROJECT, Names, new_topic


@pytest.fixture
def names(pubsub_server: PubSubServer) -> Names:
    """A topic of this test's own, with a subscription."""
    return new_topic(pubsub_server.address)


def test_a_topic_that_is_listened_to(names: Names) -> None:
    """It is there, and who listens is named."""
    state = look_at(Address.of(names.bus))

    assert (True, (names.subscription,), "", "") == (state.exists, state.subscriptions, state.trouble, state.unseen)


def test_a_topic_nobody_made(pubsub_server: PubSubServer) -> None:
    """It is not there, which keeps orders from being carried."""
    state = look_at(Address(PROJECT, "nobody-made-this", pubsub_server.address))

    assert (False, None) == (state.exists, state.subscriptions)
    assert "does not exist" in state.trouble


@pytest.mark.parametrize(
    ("code", "trouble", "unseen"),
    [
        ("PERMISSION_DENIED", "", "roles/pubsub.viewer"),
        ("UNAUTHENTICATED", "credentials", ""),
        ("UNAVAILABLE", "", "does not answer"),
        ("RESOURCE_EXHAUSTED", "", "does not answer"),
    ],
)
@pytest.mark.parametrize("method", ["GetTopic", "ListTopicSubscriptions"])
def test_a_topic_that_cannot_be_seen(
    pubsub_server: PubSubServer, names: Names, method: str, code: str, trouble: str, unseen: str
) -> None:
    """Whoever may not look, or is not answered, is told that; it is no reason to think that orders are not carried."""
    pubsub_server.fault(code, method=method)
    state = look_at(Address.of(names.bus))

    assert (None, None) == (state.exists, state.subscriptions)
    assert trouble in state.trouble
    assert bool(trouble) == bool(state.trouble)
    assert unseen in state.unseen


def test_missing_permissions_are_named(pubsub_server: PubSubServer, names: Names) -> None:
    """Of the permissions asked about those are given that this caller does not have."""
    asked = ["pubsub.topics.publish", "pubsub.topics.get"]

    assert [] == denied(Address.of(names.bus), asked)
    pubsub_server.deny("pubsub.topics.publish")
    assert ["pubsub.topics.publish"] == denied(Address.of(names.bus), asked)
