"""Looks at what a bus needs in Pub/Sub: is the topic there, does anybody listen, and may we publish."""

from collections.abc import Iterator
from typing import Literal

from google.api_core import exceptions
from google.iam.v1 import iam_policy_pb2

from heatfleet.domain.checks import Check
from heatfleet.domain.cloud import LOOK_PERMISSION, SUBSCRIPTION_PERMISSION, TOPIC_PERMISSIONS, role_with
from heatfleet.errors import SetupError
from heatfleet.messaging.pubsub.address import Address, Subscribed
from heatfleet.messaging.pubsub.setup import CALL_S, Admin, refusal
from heatfleet.messaging.pubsub.topic import denied, look_at


def look(address: Address) -> Iterator[Check]:
    """Each check as soon as it is known; after one that leaves nothing to look at no others follow."""
    state = look_at(address)
    where = f"{address.project}/{address.topic}"
    if state.trouble:
        fix = "`heatfleet cloud init` makes what is missing" if state.exists is False else ""
        yield Check("topic", "fail", f"{where}: {state.trouble}", fix)
    elif state.unseen:
        yield Check("topic", "warn", f"{where}: {state.unseen}")
    else:
        names = sorted(name.rpartition("/")[2] for name in state.subscriptions or ())
        yield Check("topic", "ok", f"{where}, read by {', '.join(names)}")
    if state.exists is not False:
        yield _rights(address)


def look_at_subscription(subscription: Subscribed) -> Check:
    """Whether it is there and may be read."""
    name = subscription.name
    try:
        admin = Admin(subscription.project, subscription.emulator)
    except SetupError as error:
        return Check("readings", "fail", str(error))
    asked = [SUBSCRIPTION_PERMISSION, LOOK_PERMISSION]
    request = iam_policy_pb2.TestIamPermissionsRequest(resource=subscription.path, permissions=asked)
    try:
        granted = admin.subscriber.test_iam_permissions(request=request, retry=None, timeout=CALL_S).permissions
    except exceptions.GoogleAPIError as error:
        told = refusal(error, doing=f"subscription {name}", likely=SUBSCRIPTION_PERMISSION)
        return Check("readings", "fail", str(told))
    finally:
        admin.close()
    if missing := [permission for permission in asked if permission not in granted]:
        state: Literal["fail", "warn"] = "fail" if SUBSCRIPTION_PERMISSION in missing else "warn"
        roles = ", ".join(map(role_with, missing))
        return Check("readings", state, f"missing: {', '.join(missing)} on {name}", f"give it {roles} there")
    return Check("readings", "ok", f"this account may read the subscription {name}")


def _rights(address: Address) -> Check:
    """What this account may not do with the topic, whatever gave it the right."""
    try:
        missing = denied(address, TOPIC_PERMISSIONS)
    except SetupError as error:
        return Check("publish", "fail", str(error))
    except exceptions.GoogleAPIError as error:
        return Check("publish", "fail", str(refusal(error, doing="the topic's rights", likely=TOPIC_PERMISSIONS[0])))
    if not missing:
        return Check("publish", "ok", "this account may publish orders")
    roles = ", ".join(map(role_with, missing))
    return Check(
        "publish",
        "fail" if TOPIC_PERMISSIONS[0] in missing else "warn",  # the other only keeps us from looking
        f"missing: {', '.join(missing)}",
        f"give it {roles} on the topic {address.topic}",
    )
