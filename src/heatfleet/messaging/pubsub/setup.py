"""Topics and subscriptions: made where they are missing, compared where they are there, never changed."""

from collections.abc import Iterator

import google.auth.exceptions
from google.api_core import exceptions
from google.pubsub_v1 import types

from heatfleet.domain import cloud
from heatfleet.domain.cloud import Step, Topics
from heatfleet.errors import BusUnavailable, HeatfleetError, SetupError
from heatfleet.messaging.pubsub.address import Address
from heatfleet.messaging.pubsub.connect import publisher_client, subscriber_client

CALL_S = 10.0


class Admin:
    """Google's clients for what surrounds messages: on Google Cloud, or on a server of this machine."""

    def __init__(self, project: str, emulator: str | None) -> None:
        self.project = project
        self.publisher = publisher_client(Address(project, "", emulator))
        self.subscriber = subscriber_client(emulator)

    def close(self) -> None:
        """Let go of the connections."""
        self.publisher.transport.close()  # type: ignore[no-untyped-call]
        self.subscriber.transport.close()  # type: ignore[no-untyped-call]

    def topic_path(self, topic: str) -> str:
        """The topic as Google calls it."""
        return f"projects/{self.project}/topics/{topic}"

    def subscription_path(self, subscription: str) -> str:
        """The subscription as Google calls it."""
        return f"projects/{self.project}/subscriptions/{subscription}"


def set_up(project: str, topics: Topics, *, emulator: str | None = None, dry_run: bool = False) -> Iterator[Step]:
    """Make what is missing and tell of each thing as soon as it is known how it is; ``dry_run`` makes nothing.

    ``SetupError`` when Google denies something, with the permission that is missing; ``BusUnavailable`` when it cannot
    be reached. What was made until then stays, and the next run finds it.
    """
    admin = Admin(project, emulator)
    try:
        if topics.orders:
            yield _topic(admin, topics.orders, dry_run=dry_run)
            yield _subscription(admin, _of_orders(admin, topics.orders), dry_run=dry_run)
        if topics.readings:
            dead = cloud.dead_letter_topic(topics.readings)
            yield _topic(admin, topics.readings, dry_run=dry_run)
            yield _topic(admin, dead, dry_run=dry_run)
            yield _subscription(admin, _of_dead_letters(admin, dead), dry_run=dry_run)
            yield _subscription(admin, _of_readings(admin, topics), dry_run=dry_run)
    finally:
        admin.close()


def refusal(error: Exception, *, doing: str, likely: str) -> HeatfleetError:
    """What Google said, for the person who has to act on it."""
    if isinstance(error, exceptions.PermissionDenied):
        return SetupError(cloud.explain(error.message, doing=doing, likely=likely))
    if isinstance(error, exceptions.Unauthenticated | google.auth.exceptions.GoogleAuthError):
        return SetupError(f"{doing}: Google does not take the credentials; gcloud auth application-default login")
    if isinstance(error, exceptions.NotFound):
        return SetupError(f"{doing}: it is not there, or the project is not; run `heatfleet cloud init`")
    if isinstance(error, exceptions.ResourceExhausted):
        return BusUnavailable(f"{doing}: a quota of Pub/Sub is used up", 60)
    if isinstance(error, exceptions.InvalidArgument):
        return SetupError(f"{doing}: Pub/Sub does not take it: {error.message}")
    return BusUnavailable(f"{doing}: Pub/Sub cannot be reached ({type(error).__name__})", 5)


def _topic(admin: Admin, name: str, *, dry_run: bool) -> Step:
    path = admin.topic_path(name)
    doing, likely = f"topic {name}", "pubsub.topics.get"
    try:
        admin.publisher.get_topic(topic=path, retry=None, timeout=CALL_S)
    except exceptions.NotFound:
        if dry_run:
            return Step("topic", name, "missing")
    except (exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
        raise refusal(error, doing=doing, likely=likely) from error
    else:
        return Step("topic", name, "there")
    try:
        admin.publisher.create_topic(name=path, retry=None, timeout=CALL_S)
    except exceptions.AlreadyExists:  # somebody else was quicker
        return Step("topic", name, "there")
    except (exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
        raise refusal(error, doing=doing, likely="pubsub.topics.create") from error
    return Step("topic", name, "made")


def _subscription(admin: Admin, wanted: types.Subscription, *, dry_run: bool) -> Step:
    name = wanted.name.rpartition("/")[2]
    doing = f"subscription {name}"
    try:
        found = admin.subscriber.get_subscription(subscription=wanted.name, retry=None, timeout=CALL_S)
    except exceptions.NotFound:
        if dry_run:
            return Step("subscription", name, "missing")
    except (exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
        raise refusal(error, doing=doing, likely="pubsub.subscriptions.get") from error
    else:
        note = "; ".join(_differences(wanted, found))
        return Step("subscription", name, "differs" if note else "there", note)
    try:
        admin.subscriber.create_subscription(request=wanted, retry=None, timeout=CALL_S)
    except (exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
        raise refusal(error, doing=doing, likely="pubsub.subscriptions.create") from error
    return Step("subscription", name, "made", _how(wanted))


def _of_orders(admin: Admin, topic: str) -> types.Subscription:
    return types.Subscription(
        name=admin.subscription_path(cloud.gateway_subscription(topic)),
        topic=admin.topic_path(topic),
        ack_deadline_seconds=cloud.ACK_DEADLINE_S,
        message_retention_duration={"seconds": cloud.ORDERS_KEPT_S},
        enable_message_ordering=True,
        expiration_policy=types.ExpirationPolicy(),  # never, however long no gateway reads
    )


def _of_readings(admin: Admin, topics: Topics) -> types.Subscription:
    push = types.PushConfig()
    if topics.push_endpoint:
        # The audience is the endpoint itself unless told otherwise: one thing less to set.
        token = types.PushConfig.OidcToken(service_account_email=topics.push_account, audience=topics.push_endpoint)
        push = types.PushConfig(push_endpoint=topics.push_endpoint, oidc_token=token)
    return types.Subscription(
        name=admin.subscription_path(topics.readings),
        topic=admin.topic_path(topics.readings),
        ack_deadline_seconds=cloud.ACK_DEADLINE_S,
        message_retention_duration={"seconds": cloud.READINGS_KEPT_S},
        expiration_policy=types.ExpirationPolicy(),
        dead_letter_policy=types.DeadLetterPolicy(
            dead_letter_topic=admin.topic_path(cloud.dead_letter_topic(topics.readings)),
            max_delivery_attempts=cloud.DELIVERIES_MAX,
        ),
        retry_policy=types.RetryPolicy(
            minimum_backoff={"seconds": cloud.RETRY_MIN_S}, maximum_backoff={"seconds": cloud.RETRY_MAX_S}
        ),
        push_config=push,
    )


def _of_dead_letters(admin: Admin, topic: str) -> types.Subscription:
    return types.Subscription(
        name=admin.subscription_path(topic),
        topic=admin.topic_path(topic),
        ack_deadline_seconds=cloud.ACK_DEADLINE_S,
        message_retention_duration={"seconds": cloud.DEAD_LETTERS_KEPT_S},
        expiration_policy=types.ExpirationPolicy(),
    )


def _how(subscription: types.Subscription) -> str:
    """What whoever made it wants to know."""
    parts = []
    if subscription.enable_message_ordering:
        parts.append("in order for each device")
    if subscription.push_config.push_endpoint:
        parts.append(f"pushes to {subscription.push_config.push_endpoint}")
    kept = subscription.message_retention_duration
    parts.append(f"keeps for {kept.days} days" if kept.days else f"keeps for {kept.seconds // 60} minutes")
    return ", ".join(parts)


def _differences(wanted: types.Subscription, found: types.Subscription) -> Iterator[str]:
    """Each difference that loses or delays messages, or sends them elsewhere, and what to do about it."""
    if found.topic != wanted.topic:
        yield f"it reads {found.topic.rpartition('/')[2]}; delete it, and run this again"
        return
    if wanted.enable_message_ordering and not found.enable_message_ordering:
        yield "it keeps no order of a device's messages, which cannot be changed: delete it, and run this again"
    if found.filter:
        yield "it has a filter, which drops messages and cannot be changed: delete it, and run this again"
    if found.detached:
        yield "it is detached from its topic and gets nothing: delete it, and run this again"
    if found.message_retention_duration and found.message_retention_duration < wanted.message_retention_duration:
        yield f"it keeps messages for a shorter time; --message-retention-duration={_seconds(wanted)}s would mend it"
    if found.expiration_policy.ttl:
        yield "it is deleted when nobody reads it for a while; --expiration-period=never would mend it"
    if found.push_config.push_endpoint != wanted.push_config.push_endpoint:
        yield _other_push(found.push_config, wanted.push_config)
    elif found.push_config.oidc_token != wanted.push_config.oidc_token:
        yield "its pushes show a token of another account or audience; --push-auth-service-account would mend it"
    if found.dead_letter_policy.dead_letter_topic != wanted.dead_letter_policy.dead_letter_topic:
        topic = wanted.dead_letter_policy.dead_letter_topic.rpartition("/")[2]
        yield f"its dead letters go elsewhere or nowhere; --dead-letter-topic={topic} would mend it"


def _other_push(found: types.PushConfig, wanted: types.PushConfig) -> str:
    if not wanted.push_endpoint:
        return "it pushes, and nobody can pull from it; --push-endpoint= would mend it, or name its endpoint here"
    return f"it pushes {'elsewhere' if found.push_endpoint else 'nowhere'}; --push-endpoint would mend it"


def _seconds(subscription: types.Subscription) -> int:
    return int(subscription.message_retention_duration.total_seconds())
