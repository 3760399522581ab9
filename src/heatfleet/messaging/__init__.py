"""What carries orders to the devices. ``open_bus`` chooses it by URL."""

from heatfleet.errors import SetupError
from heatfleet.messaging.base import Bus

BUSES = ("local:",)
"""How the URL of each bus that exists begins."""


def open_bus(url: str) -> Bus:
    """Open the bus that the URL names; ``SetupError``, which names those that exist, for any other.

    ``local:`` carries orders to the devices that listen to this very server.
    """
    if url != "local:":
        raise SetupError(f"HEATFLEET_BUS: there is no such bus; these exist: {', '.join(BUSES)}")
    # Imported only when asked for: a bus's library need not be there for the others to work.
    from heatfleet.messaging.in_process import InProcessBus  # noqa: PLC0415

    return InProcessBus()
