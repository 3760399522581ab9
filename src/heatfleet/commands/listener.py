"""Who listens for orders, and hears of them in the order of their publication."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from heatfleet.domain.commands import Audience, CommandRecord

WAITING_MAX = 10_000
"""Orders that may wait for one slow listener; a thousand may come at a time."""


class Listener:
    """Unexpired orders for one audience, in order of publication, for ``async for``; made by ``CommandDesk.follow``.

    One that reads too slowly is closed rather than skipped: what it has read so far is whole, and it may come back
    for the rest.
    """

    def __init__(self, audience: Audience, *, after: int, clock: Callable[[], int]) -> None:
        self.audience = audience
        self._last = after
        self._clock = clock
        self._waiting: deque[CommandRecord] = deque()
        self._room = WAITING_MAX
        self._news = asyncio.Event()
        self._open = True

    def tell(self, record: CommandRecord) -> None:
        """Put one more order in line."""
        if len(self._waiting) >= self._room:
            self.close()
        if self._open:
            self._waiting.append(record)
            self._news.set()

    def catch_up(self, missed: Sequence[CommandRecord]) -> None:
        """Put what was published earlier in front; what was told meanwhile as well is heard once."""
        self._waiting.extendleft(reversed(missed))
        self._room += len(missed)

    def close(self) -> None:
        """End it; what still waits is not delivered."""
        self._open = False
        self._waiting.clear()
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[CommandRecord]:
        while self._open:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            record = self._waiting.popleft()
            if record.sequence > self._last and record.command.expires_at_ms > self._clock():
                self._last = record.sequence
                yield record


class Listeners:
    """All who listen, found by device and product: many orders at once must not ask each of many listeners."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str | None], set[Listener]] = {}

    def __iter__(self) -> Iterator[Listener]:
        return iter(set().union(*self._by_name.values()))

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def add(self, listener: Listener) -> None:
        """From now on it hears of orders."""
        for name in _names(listener.audience):
            self._by_name.setdefault(name, set()).add(listener)

    def discard(self, listener: Listener) -> None:
        """From now on it does not."""
        for name in _names(listener.audience):
            found = self._by_name.get(name, set())
            found.discard(listener)
            if not found:
                self._by_name.pop(name, None)

    def tell(self, record: CommandRecord) -> None:
        """Put an order in line for all whom it is for."""
        for name in (("device", record.command.device_id), ("product", record.command.product_id)):
            for listener in self._by_name.get(name, ()):
                listener.tell(record)


def _names(audience: Audience) -> Iterator[tuple[str, str | None]]:
    if audience.product_id is not None:
        yield "product", audience.product_id
    else:
        yield from (("device", device_id) for device_id in audience.device_ids)
