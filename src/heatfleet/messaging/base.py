"""The promise every message bus keeps."""

from typing import Protocol

from heatfleet.domain.commands import Command


class Bus(Protocol):
    """Takes orders over, to carry them to the devices. Used from one event loop."""

    async def publish(self, command: Command) -> None:
        """Return once the bus has accepted the order: from here on it is the bus that delivers it.

        Raises ``BusUnavailable`` when the bus did not accept it. After that error, and also when the caller gives
        up waiting (cancels), the order is not sent later. Orders of one device are carried in the order of these
        calls; the caller does not start the next before the last has returned.
        """

    async def close(self) -> None:
        """Let go of connections; every later ``publish`` is refused. May be called twice."""
