"""Topics and subscriptions, made by Google's clients on a local server."""

import itertools

import pytest
from google.pubsub_v1 import types

from heatfleet.domain import cloud
from heatfleet.domain.cloud import Step, Topics
from heatfleet.errors import BusUnavailable, SetupError
from heatfleet.messaging.pubsub.setup import Admin, set_up
from tests.pubsub_server import PubSubServer

PROJECT = "heatfleet-tests"
ENDPOINT, ACCOUNT = "https://heatfleet.example/pubsub/push", "push@heatfleet-tests.example"
_numbers = itertools.count()


@pytest.fixture
def topics() -> Topics:
    """Topics of this test's own."""
    number = next(_numbers)
    return Topics(f"send_command-{number}", f"readings-{number}")


def steps(server: PubSubServer, topics: Topics, *, dry_run: bool = False) -> dict[tuple[str, str], Step]:
    """Each step by its kind and name."""
    found = set_up(PROJECT, topics, emulator=server.address, dry_run=dry_run)
    return {(step.kind, step.name): step for step in found}


def subscription(server: PubSubServer, name: str) -> types.Subscription:
    """The subscription as the server has it."""
    admin = Admin(PROJECT, server.address)
    try:
        return admin.subscriber.get_subscription(subscription=admin.subscription_path(name))
    finally:
        admin.close()


def test_topics_are_made_once(pubsub_server: PubSubServer, topics: Topics) -> None:
    """The first run makes three topics and a subscription of each, the second finds them all there."""
    first, second = steps(pubsub_server, topics), steps(pubsub_server, topics)

    assert [*first] == [
        ("topic", topics.orders),
        ("subscription", f"{topics.orders}-gateway"),
        ("topic", topics.readings),
        ("topic", f"{topics.readings}-dead-letter"),
        ("subscription", f"{topics.readings}-dead-letter"),
        ("subscription", topics.readings),
    ]
    assert {step.state for step in first.values()} == {"made"}
    assert {step.state for step in second.values()} == {"there"}


def test_a_dry_run_makes_nothing(pubsub_server: PubSubServer, topics: Topics) -> None:
    """It tells what is missing, and leaves it so."""
    for _ in range(2):
        assert {step.state for step in steps(pubsub_server, topics, dry_run=True).values()} == {"missing"}


def test_only_what_is_wanted(pubsub_server: PubSubServer, topics: Topics) -> None:
    """A topic without a name is not made."""
    found = steps(pubsub_server, topics._replace(readings=""))

    assert [*found] == [("topic", topics.orders), ("subscription", f"{topics.orders}-gateway")]


def test_orders_are_handed_out_in_order_and_not_kept_for_long(pubsub_server: PubSubServer, topics: Topics) -> None:
    """The gateway's subscription keeps the order of each device, as long as an order may live, and never ends."""
    steps(pubsub_server, topics)
    made = subscription(pubsub_server, f"{topics.orders}-gateway")

    assert made.enable_message_ordering
    assert made.message_retention_duration.total_seconds() == 3600
    assert "expiration_policy" in made
    assert not made.expiration_policy.ttl


def test_readings_outlast_an_outage_and_bad_ones_end(pubsub_server: PubSubServer, topics: Topics) -> None:
    """Readings are kept for a week and handed out again ever later; after the last time they go to the dead letters."""
    steps(pubsub_server, topics)
    made = subscription(pubsub_server, topics.readings)

    assert made.message_retention_duration.days == 7
    assert made.dead_letter_policy.dead_letter_topic.endswith(f"/topics/{topics.readings}-dead-letter")
    assert made.dead_letter_policy.max_delivery_attempts == 100
    assert made.retry_policy.maximum_backoff.total_seconds() == 600
    assert not made.push_config.push_endpoint
    assert subscription(pubsub_server, f"{topics.readings}-dead-letter").message_retention_duration.days == 31


def test_readings_are_pushed_with_a_token(pubsub_server: PubSubServer, topics: Topics) -> None:
    """To the endpoint, which is also the audience, as the account."""
    steps(pubsub_server, topics._replace(push_endpoint=ENDPOINT, push_account=ACCOUNT))
    push = subscription(pubsub_server, topics.readings).push_config

    assert (push.push_endpoint, push.oidc_token.audience) == (ENDPOINT, ENDPOINT)
    assert push.oidc_token.service_account_email == ACCOUNT


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"enable_message_ordering": False}, "no order of a device's messages"),
        ({"enable_message_ordering": True, "filter": 'attributes.a = "b"'}, "has a filter"),
        ({"enable_message_ordering": True, "message_retention_duration": {"seconds": 600}}, "=3600s would mend it"),
        (
            {"enable_message_ordering": True, "expiration_policy": {"ttl": {"seconds": 86_400}}},
            "--expiration-period=never would mend it",
        ),
        ({"enable_message_ordering": True, "push_config": {"push_endpoint": ENDPOINT}}, "it pushes, and nobody"),
    ],
)
def test_a_difference_that_matters_is_named(
    fields: dict[str, object], word: str, pubsub_server: PubSubServer, topics: Topics
) -> None:
    """And nothing of it is changed."""
    name = f"{topics.orders}-gateway"
    admin = Admin(PROJECT, pubsub_server.address)
    admin.publisher.create_topic(name=admin.topic_path(topics.orders))
    whole = {"name": admin.subscription_path(name), "topic": admin.topic_path(topics.orders)}
    before = admin.subscriber.create_subscription(request=types.Subscription(**whole, **fields))
    admin.close()
    step = steps(pubsub_server, topics)["subscription", name]

    assert step.state == "differs"
    assert word in step.note
    assert step.note.count("would mend it") + step.note.count("run this again") <= 1
    assert subscription(pubsub_server, name) == before


def test_readings_that_are_pushed_elsewhere(pubsub_server: PubSubServer, topics: Topics) -> None:
    """Another endpoint, another account and lost dead letters are named one by one."""
    pushed = topics._replace(push_endpoint=ENDPOINT, push_account=ACCOUNT)
    steps(pubsub_server, pushed)
    key = ("subscription", topics.readings)

    assert "it pushes, and nobody can pull" in steps(pubsub_server, topics)[key].note
    other = pushed._replace(push_endpoint="https://elsewhere.example")
    assert "it pushes elsewhere" in steps(pubsub_server, other)[key].note
    assert "another account" in steps(pubsub_server, pushed._replace(push_account="x@example"))[key].note
    assert steps(pubsub_server, pushed)[key].state == "there"


def test_a_subscription_of_another_topic(pubsub_server: PubSubServer, topics: Topics) -> None:
    """One whose topic was deleted and made anew reads nothing, and is named."""
    steps(pubsub_server, topics)
    admin = Admin(PROJECT, pubsub_server.address)
    admin.publisher.delete_topic(topic=admin.topic_path(topics.orders))
    admin.close()
    found = steps(pubsub_server, topics)

    assert found["topic", topics.orders].state == "made"
    assert "_deleted-topic_" in found["subscription", f"{topics.orders}-gateway"].note


def test_a_missing_permission_is_named(pubsub_server: PubSubServer, topics: Topics) -> None:
    """With the role that has it; what was made before stays, and the next run goes on from there."""
    pubsub_server.fault("PERMISSION_DENIED", method="CreateSubscription", times=1)
    with pytest.raises(SetupError, match=r"pubsub\.subscriptions\.create is missing; the role roles/pubsub\.editor"):
        steps(pubsub_server, topics)
    found = steps(pubsub_server, topics)

    assert found["topic", topics.orders].state == "there"
    assert found["subscription", f"{topics.orders}-gateway"].state == "made"


def test_a_server_that_is_away(pubsub_server: PubSubServer, topics: Topics) -> None:
    """It is tried again later, by whoever runs it."""
    pubsub_server.shut()
    with pytest.raises(BusUnavailable, match="cannot be reached"):
        steps(pubsub_server, topics)


def test_what_google_says_becomes_something_to_do() -> None:
    """An API that is off, a project without billing, and a permission that Google names itself."""
    off = "Cloud Pub/Sub API has not been used in project 12 before or it is disabled. Enable it by visiting ..."
    billing = "This API method requires billing to be enabled."
    named = "User not authorized: Permission 'pubsub.topics.create' denied on resource (or it may not exist)."
    words = [cloud.explain(said, doing="x", likely="pubsub.topics.get") for said in (off, billing, named, "Denied.")]

    assert words == [
        f"x: an API of Google's is off in this project; gcloud services enable {' '.join(cloud.APIS)}",
        "x: Google asks for billing to be enabled for this project",
        "x: the permission pubsub.topics.create is missing; the role roles/pubsub.editor has it",
        "x: the permission pubsub.topics.get is missing; the role roles/pubsub.viewer has it",
    ]
