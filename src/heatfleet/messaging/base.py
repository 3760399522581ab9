"""What is promised of a message bus, of what judges its tokens, and of a subscription to it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A message that was delivered, and is ours until it is acknowledged or given back.

    ``attempt`` counts its deliveries from 1 where undeliverable messages go to a dead-letter topic, and is 0 elsewhere.
    """

    data: bytes
    message_id: str
    published_ms: int
    attempt: int
    handle: str
    """By which the broker knows this delivery."""


class Subscription(Protocol):
    """Delivers messages until each is acknowledged. Used from one event loop, in an ``async with`` block."""

    async def has_dead_letters(self) -> bool | None:
        """Whether what cannot be taken goes to a dead-letter topic; ``None`` if we may not know.

        Raises ``SetupError`` when there is no such subscription, and ``StoreUnavailable`` when the broker is away.
        """

    def deliveries(self) -> AsyncIterator[Sequence[Received]]:
        """Messages, some at a time, without end: through every outage that may go by, and no more than fit in memory.

        Raises ``SetupError`` when the subscription cannot be used.
        """

    def acknowledge(self, received: Sequence[Received]) -> None:
        """These are done with; if the broker does not hear of it, they come again."""

    def give_back(self, received: Sequence[Received]) -> None:
        """These come again soon, here or elsewhere; where there are dead letters, that counts."""

    async def close(self) -> None:
        """Tell the broker of all that was acknowledged and given back, give back the rest, and let go."""
