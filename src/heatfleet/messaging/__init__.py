"""What carries orders to the devices. ``open_bus`` chooses it by URL."""

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from heatfleet.domain.checks import Check
from heatfleet.domain.cloud import Step, Topics
from heatfleet.errors import SetupError
from heatfleet.messaging.base import Bus, PushTokens, Subscription

if TYPE_CHECKING:
    from heatfleet.messaging.pubsub.address import Address

BUSES = ("local:", "pubsub://PROJECT/TOPIC")
"""How the URL of each bus that exists is written."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_bus(url: str, *, clock: Callable[[], int] = _now_ms) -> Bus:
    """Open the bus that the URL names; ``SetupError``, which names those that exist, for any other.

    ``local:`` carries orders to the devices that listen to this very server. ``pubsub://PROJECT/TOPIC`` publishes them
    on a topic of Google Pub/Sub; with ``?emulator=127.0.0.1:PORT`` on that of a server on this machine. It connects
    with the first order. ``clock`` gives the time in milliseconds since the epoch, by which orders expire.
    """
    # Imported only when asked for: a bus's library need not be there for the others to work.
    if url == "local:":
        from heatfleet.messaging.in_process import InProcessBus  # noqa: PLC0415

        return InProcessBus()
    address = _pubsub_address(url)
    from heatfleet.messaging.pubsub.bus import PubSubBus  # noqa: PLC0415

    return PubSubBus(address, clock=clock)


def is_pubsub(url: str) -> bool:
    """Whether the URL names a topic of Pub/Sub."""
    return url.startswith("pubsub:")


def set_up_topics(url: str, topics: Topics, *, dry_run: bool = False) -> Iterator[Step]:
    """Make topics and subscriptions in the project of a ``pubsub:`` URL, as far as they are not there.

    ``SetupError`` when Google denies something, ``BusUnavailable`` when it cannot be reached.
    """
    address = _pubsub_address(url)
    from heatfleet.messaging.pubsub.setup import set_up  # noqa: PLC0415

    yield from set_up(address.project, topics, emulator=address.emulator, dry_run=dry_run)


def look_at_bus(url: str, *, subscription: str | None = None) -> Iterator[Check]:
    """Whether the topic of a ``pubsub:`` URL can be used, and this subscription be read, named as for `consume`."""
    address = _pubsub_address(url)
    from heatfleet.messaging.pubsub.address import Subscribed  # noqa: PLC0415
    from heatfleet.messaging.pubsub.look import look, look_at_subscription  # noqa: PLC0415

    yield from look(address)
    if subscription:
        yield look_at_subscription(Subscribed.of(subscription, bus=url))


def _pubsub_address(url: str) -> "Address":
    if not is_pubsub(url):
        raise SetupError(f"HEATFLEET_BUS: there is no such bus; these exist: {', '.join(BUSES)}")
    # gRPC writes lines of its own to the log's stream, in no form of ours; what matters comes to us as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from heatfleet.messaging.pubsub import connect  # noqa: PLC0415, F401
    except ImportError:
        raise SetupError('HEATFLEET_BUS: Pub/Sub needs Google\'s libraries: pip install "heatfleet[google]"') from None
    from heatfleet.messaging.pubsub.address import Address  # noqa: PLC0415

    return Address.of(url)


def open_push_tokens(*, audience: str, account: str) -> PushTokens | None:
    """What judges the tokens of Pub/Sub's pushes; ``None`` when neither is given: then nothing is pushed.

    ``SetupError`` if only one is given, or the library is not installed.
    """
    if not audience and not account:
        return None
    if not audience or not account:
        raise SetupError("HEATFLEET_PUSH_AUDIENCE and HEATFLEET_PUSH_ACCOUNT: set both, or none")
    try:
        from heatfleet.messaging.pubsub.tokens import GoogleTokens  # noqa: PLC0415
    except ImportError:
        raise SetupError(
            'HEATFLEET_PUSH_AUDIENCE: Pub/Sub needs Google\'s libraries: pip install "heatfleet[google]"'
        ) from None
    return GoogleTokens(audience=audience, account=account)


def open_subscription(name: str, *, bus: str, emulator: str | None = None) -> Subscription:
    """The subscription of Pub/Sub by this name, ``projects/P/subscriptions/S``, or ``S`` in the project of the bus.

    It connects when it is used; ``emulator`` is ``HOST:PORT`` of a server on this machine. ``SetupError`` for a name
    that is none.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from heatfleet.messaging.pubsub.address import Subscribed  # noqa: PLC0415
        from heatfleet.messaging.pubsub.subscription import PubSubSubscription  # noqa: PLC0415
    except ImportError:
        raise SetupError('--subscription: Pub/Sub needs Google\'s libraries: pip install "heatfleet[google]"') from None
    return PubSubSubscription(Subscribed.of(name, bus=bus, emulator=emulator))
