"""The promise every message bus keeps."""

from collections.abc import Sequence
from typing import Protocol

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable


class Bus(Protocol):
    """Takes orders over, to carry them to the devices. Used from one event loop.

    ``trouble`` is why the last orders were not accepted, ``None`` while they are.
    """

    trouble: BusUnavailable | None

    async def publish_many(self, commands: Sequence[Command], *, timeout_s: float) -> Sequence[BusUnavailable | None]:
        """Give for each order ``None`` once the bus has accepted it: from here on it is the bus that delivers it.

        For one that the bus has not accepted ``timeout_s`` later, at the latest, what is given says why; such an order
        is not sent later. Orders of one device are carried in this order, and in the order of these calls; the caller
        does not start the next for a device before the last has returned.
        """

    async def check(self) -> str:
        """What would keep orders from the devices, and what to do, as far as it can be seen; empty if nothing.

        It may take some seconds, and never raises for what the bus answers.
        """

    async def close(self) -> None:
        """Let go of connections; every later order is refused. May be called twice."""


class PushTokens(Protocol):
    """Judges the tokens that a broker shows when it pushes messages to the server. Used from one event loop."""

    async def judge(self, token: str) -> None:
        """Return if the broker was given this token, for this server; it may come any number of times until it ends.

        Raises ``NotAllowed``, ``bad-token``, without repeating it, and ``TokensUnverified`` when that cannot be told.
        """
