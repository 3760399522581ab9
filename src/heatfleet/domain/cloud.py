"""What Heatfleet needs of Google Cloud: the things by name, and who needs which role for what."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

APIS = ("bigquery.googleapis.com", "bigquerystorage.googleapis.com", "pubsub.googleapis.com")
LOCATION = "EU"
NO_CREDENTIALS = (
    "Google's credentials are missing: on Google Cloud give the service an account, elsewhere set "
    "GOOGLE_APPLICATION_CREDENTIALS to a key file or run: gcloud auth application-default login"
)
DATASET = "heatfleet"
ORDERS_TOPIC = "send_command"
READINGS_TOPIC = "readings"

ACK_DEADLINE_S = 60
ORDERS_KEPT_S = 3600
"""No order lives longer (``HEATFLEET_COMMAND_TTL_S``), so one that lay that long is of no use to anybody."""
READINGS_KEPT_S = 7 * 86_400
DEAD_LETTERS_KEPT_S = 31 * 86_400
DELIVERIES_MAX = 100
"""As many as Pub/Sub allows. With waits of up to ten minutes in between that is most of a day: BigQuery may be away as
long before readings become dead letters for no fault of their own."""
RETRY_MIN_S, RETRY_MAX_S = 10, 600

Who = Literal["server", "rollup", "consume", "gateway", "cloud init", "Pub/Sub itself"]


def gateway_subscription(orders_topic: str) -> str:
    """What the devices' gateway reads orders from."""
    return f"{orders_topic}-gateway"


def dead_letter_topic(readings_topic: str) -> str:
    """Where messages go that were handed out too often; its subscription has the same name, and keeps them."""
    return f"{readings_topic}-dead-letter"


class Need(NamedTuple):
    """A role that ``who`` needs ``on`` a thing, and the permissions in it that are used."""

    who: Who
    role: str
    on: str
    permissions: tuple[str, ...]
    what_for: str


TABLE_PERMISSIONS = ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.updateData")
JOB_PERMISSION = "bigquery.jobs.create"
TOPIC_PERMISSIONS = ("pubsub.topics.publish", "pubsub.topics.get")
SUBSCRIPTION_PERMISSION = "pubsub.subscriptions.consume"
LOOK_PERMISSION = "pubsub.subscriptions.get"
_WORK_IN_TABLES = (*TABLE_PERMISSIONS, "bigquery.tables.create", "bigquery.tables.delete", "bigquery.tables.update")
_MAKE_TABLES = (
    "bigquery.datasets.create",
    "bigquery.datasets.get",
    "bigquery.tables.create",
    "bigquery.tables.list",
    *TABLE_PERMISSIONS,
)
_MAKE_TOPICS = (
    "pubsub.topics.create",
    "pubsub.topics.get",
    "pubsub.topics.attachSubscription",
    "pubsub.subscriptions.create",
    LOOK_PERMISSION,
)

NEEDS: tuple[Need, ...] = (
    Need("server", "roles/bigquery.dataEditor", "dataset", TABLE_PERMISSIONS, "appends and questions"),
    Need("server", "roles/bigquery.jobUser", "project", (JOB_PERMISSION,), "questions are jobs"),
    Need("server", "roles/pubsub.publisher", "orders topic", TOPIC_PERMISSIONS[:1], "orders"),
    Need("server", "roles/pubsub.viewer", "orders topic", TOPIC_PERMISSIONS[1:], "sees whether anybody listens"),
    Need("rollup", "roles/bigquery.dataEditor", "dataset", _WORK_IN_TABLES, "readings into figures, in work tables"),
    Need("rollup", "roles/bigquery.jobUser", "project", (JOB_PERMISSION,), "a rollup is jobs"),
    Need("consume", "roles/bigquery.dataEditor", "dataset", TABLE_PERMISSIONS, "appends"),
    Need("consume", "roles/bigquery.jobUser", "project", (JOB_PERMISSION,), "looks at the tables"),
    Need("consume", "roles/pubsub.subscriber", "readings subscription", (SUBSCRIPTION_PERMISSION,), "readings"),
    Need(
        "consume", "roles/pubsub.viewer", "readings subscription", (LOOK_PERMISSION,), "sees if dead letters are kept"
    ),
    Need("gateway", "roles/pubsub.subscriber", "orders subscription", (SUBSCRIPTION_PERMISSION,), "orders"),
    Need("cloud init", "roles/bigquery.dataEditor", "project", _MAKE_TABLES, "makes the dataset and its tables"),
    Need("cloud init", "roles/bigquery.jobUser", "project", (JOB_PERMISSION,), "makes tables by SQL"),
    Need("cloud init", "roles/pubsub.editor", "project", _MAKE_TOPICS, "makes topics and subscriptions"),
    Need(
        "cloud init",
        "roles/iam.serviceAccountUser",
        "push account",
        ("iam.serviceAccounts.actAs",),
        "names it in a subscription; only for pushes",
    ),
    Need("Pub/Sub itself", "roles/pubsub.publisher", "dead-letter topic", ("pubsub.topics.publish",), "dead letters"),
    Need(
        "Pub/Sub itself", "roles/pubsub.subscriber", "readings subscription", (SUBSCRIPTION_PERMISSION,), "dead letters"
    ),
    Need(
        "Pub/Sub itself",
        "roles/iam.serviceAccountTokenCreator",
        "push account",
        ("iam.serviceAccounts.getOpenIdToken",),
        "signs pushes; projects made after April 2021 have it",
    ),
)


def role_with(permission: str) -> str:
    """The least of our roles that has this permission, empty if none of ours needs it."""
    return next((need.role for need in NEEDS if permission in need.permissions), "")


class Step(NamedTuple):
    """One thing that has to be there: ``made`` now, ``there`` already, ``missing`` in a dry run, or it ``differs``.

    ``note`` tells what matters of it: where it is, or what differs and what to do.
    """

    kind: str
    name: str
    state: Literal["made", "there", "missing", "differs"]
    note: str = ""


class Topics(NamedTuple):
    """The topics that are wanted; an empty name is not. With an endpoint readings are pushed there."""

    orders: str = ORDERS_TOPIC
    readings: str = READINGS_TOPIC
    push_endpoint: str = ""
    push_account: str = ""


_PERMISSION = re.compile(r"\b(bigquery|iam|pubsub)\.[a-zA-Z]+\.[a-zA-Z]+\b")
_API_OFF = re.compile(r"has not been used in project|SERVICE_DISABLED|accessNotConfigured", re.IGNORECASE)
_BILLING = re.compile(r"billing", re.IGNORECASE)


def explain(message: str, *, doing: str, likely: str) -> str:
    """What to do when Google denies something: ``message`` is its own word, ``likely`` the permission that it takes."""
    if _API_OFF.search(message):
        return f"{doing}: an API of Google's is off in this project; gcloud services enable {' '.join(APIS)}"
    if _BILLING.search(message):
        return f"{doing}: Google asks for billing to be enabled for this project"
    named = _PERMISSION.search(message)
    permission = named[0] if named else likely
    role = role_with(permission)
    return f"{doing}: the permission {permission} is missing" + (f"; the role {role} has it" if role else "")


def needs_by_who() -> Iterator[tuple[str, list[Need]]]:
    """The needs, gathered by who has them."""
    for who in dict.fromkeys(need.who for need in NEEDS):
        yield who, [need for need in NEEDS if need.who == who]
