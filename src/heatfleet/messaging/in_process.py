"""The bus ``local:``, for devices that listen to this server itself."""

from collections.abc import Sequence

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable


class InProcessBus:
    """There is no broker between the ledger and the listeners, so an order is accepted as soon as the bus is open.

    ``CommandDesk`` shows every published order to those who follow ``/commands/stream``, whatever the bus; here
    that stream is the delivery.
    """

    trouble: BusUnavailable | None = None

    def __init__(self) -> None:
        self._open = True

    async def publish_many(
        self,
        commands: Sequence[Command],
        *,
        timeout_s: float,  # noqa: ARG002  # the stream carries them, and here nobody waits
    ) -> Sequence[BusUnavailable | None]:
        """Accept the orders, or none once the bus is closed."""
        refusal = None if self._open else BusUnavailable("the server is closing; the order was not sent, try again")
        return [refusal] * len(commands)

    async def check(self) -> str:
        """There is nothing that could be missing."""
        return ""

    async def close(self) -> None:
        """Refuse every order from now on."""
        self._open = False
