"""What carries orders to the devices. ``open_bus`` chooses it by URL."""

import os
import time
from collections.abc import Callable

from heatfleet.errors import SetupError
from heatfleet.messaging.base import Bus

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
    if not url.startswith("pubsub:"):
        raise SetupError(f"HEATFLEET_BUS: there is no such bus; these exist: {', '.join(BUSES)}")
    # gRPC writes lines of its own to the log's stream, in no form of ours; what matters comes to us as an error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from heatfleet.messaging.pubsub.address import Address  # noqa: PLC0415
        from heatfleet.messaging.pubsub.bus import PubSubBus  # noqa: PLC0415
    except ImportError:
        raise SetupError('HEATFLEET_BUS: Pub/Sub needs Google\'s libraries: pip install "heatfleet[google]"') from None
    return PubSubBus(Address.of(url), clock=clock)
