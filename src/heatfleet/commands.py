"""Orders to the heaters: write down, hand to the bus, note what became of it, and show it to those who listen.

An order is *accepted* once the ledger has it on disk, and *published* once the bus has it too. Only then is the client
told, and only then do listeners see it. A crash in between leaves an order that is merely accepted: nobody was told, so
the next start settles it as failed instead of sending it late.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Literal, ParamSpec, Self, TypeVar
from weakref import WeakValueDictionary

import structlog

from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import BusUnavailable, HeatfleetError, NotFound
from heatfleet.messaging.base import Bus
from heatfleet.metrics import Metrics
from heatfleet.storage.base import Ledger, Store

WAITING_MAX = 1_000
"""Orders that may wait for one slow listener."""

NOTES_MAX = 1_000
"""Refused orders that may wait to be noted; it takes the disk one sync to note them all."""

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


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


class CommandDesk:
    """Where orders are given and followed. Use it in an ``async with`` block, on one event loop.

    ``ttl_s`` is the life of an order, ``timeout_s`` the time the bus has to accept one, ``clock`` gives the time in
    milliseconds since the epoch. The ledger, bus and store stay open when the block ends.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        bus: Bus,
        store: Store,
        ttl_s: int,
        timeout_s: float,
        clock: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._bus = bus
        self._store = store
        self._ttl_ms = ttl_s * 1000
        self._timeout_s = timeout_s
        self._clock = clock
        self._metrics = metrics
        # One thread, so that what the ledger settles first is also told first: a listener never goes back.
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="heatfleet-ledger")
        self._under_way: dict[str, asyncio.Task[CommandRecord]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listeners: set[Listener] = set()
        self._notes: deque[AuditEntry] = deque()
        self._noting = False
        self._unnoted = 0

    async def __aenter__(self) -> Self:
        await self._in_ledger(self._ledger.fail_unsettled, self._clock())
        return self

    async def __aexit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        self._ledger_thread.shutdown()

    async def send(
        self, device_id: str, *, switch: bool, by: Actor, idempotency_key: str | None = None
    ) -> CommandRecord:
        """Send an order to a device, heard of or not; gives its record once the bus has accepted it.

        With the actor's key of an equal order of the last 24 h nothing is sent and that order's record comes back,
        unless it failed. Raises ``KeyReused`` for the key of another order; ``BusUnavailable`` when the bus did not
        accept the order, which will not be sent later either; ``StoreUnavailable`` when it could not be written down.
        Should the disk fail only after the bus has accepted it, it may be carried out: sending it again does no harm.
        """
        device = await asyncio.to_thread(self._store.device, device_id)
        now_ms = self._clock()
        command = Command(
            command_id=str(uuid.uuid4()),
            device_id=device_id,
            product_id=None if device is None else device.product_id,
            switch=switch,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + self._ttl_ms,
        )
        record = await self._in_ledger(self._ledger.accept, command, by=by, idempotency_key=idempotency_key)
        self._count("accepted" if record.command is command else "repeated")
        if record.state != "accepted":
            return record
        # A request that is given up, or repeated meanwhile, neither stops the order nor sends it again.
        return await asyncio.shield(self._start(record.command))

    def note_refused(self, device_id: str, *, switch: bool, by: Actor, slug: str) -> None:
        """Have it noted, soon, that an order was refused with this problem. Nobody waits for it, and it never fails.

        It is tried once, and while the disk does not keep up, what is above ``NOTES_MAX`` is only counted.
        """
        self._count("refused")
        if len(self._notes) >= NOTES_MAX:
            self._unnoted += 1
            return
        detail = "on" if switch else "off"
        self._notes.append(AuditEntry(self._clock(), by, "order", device_id, detail, result=slug))
        if not self._noting:
            self._noting = True
            with suppress(RuntimeError):  # the desk is closing
                self._ledger_thread.submit(self._write_notes)

    async def command(self, command_id: str) -> CommandRecord:
        """An order as it stands now; ``NotFound`` for an id never given."""
        record = await self._in_ledger(self._ledger.command, command_id, self._clock())
        if record is None:
            raise NotFound("there is no order with this id")
        return record

    @asynccontextmanager
    async def follow(self, audience: Audience, *, after: int = 0) -> AsyncIterator[Listener]:
        """Unexpired orders with a sequence above ``after``: first the newest of each device, then as they come.

        No gap and no repetition: the listener is there before the ledger is asked, and never goes back in sequence.
        Raises ``StoreUnavailable`` when the ledger does not answer.
        """
        listener = Listener(audience, after=after, clock=self._clock)
        self._listeners.add(listener)
        try:
            listener.catch_up(await self._in_ledger(self._ledger.open_orders, audience, self._clock(), after=after))
            yield listener
        finally:
            self._listeners.discard(listener)
            listener.close()

    def _start(self, command: Command) -> asyncio.Task[CommandRecord]:
        """The task that publishes this order: a new one, unless it is under way."""
        task = self._under_way.get(command.command_id)
        if task is None:
            task = asyncio.create_task(self._publish(command))
            self._under_way[command.command_id] = task
            task.add_done_callback(lambda done: self._finish(command, done))
        return task

    def _finish(self, command: Command, task: asyncio.Task[CommandRecord]) -> None:
        del self._under_way[command.command_id]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it too; if nobody does, it is no news for the log

    async def _publish(self, command: Command) -> CommandRecord:
        """Hand an order to the bus and settle it, before the deadline or not at all.

        Orders of one device take turns: the bus and the ledger agree on which is the last, and the last one wins.
        """
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        async with self._turns.setdefault(command.device_id, asyncio.Lock()):
            try:
                await self._hand_over(command, deadline_s)
            except BusUnavailable:
                await self._settle(command, "failed")
                raise
            record = await self._settle(command, "published")
            for listener in self._listeners:
                if listener.audience.includes(command):
                    listener.tell(record)
            return record

    async def _hand_over(self, command: Command, deadline_s: float) -> None:
        if self._clock() >= command.expires_at_ms:
            raise BusUnavailable("the order expired before it could be published; it is not sent, try again")
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._bus.publish(command)
        except TimeoutError as error:
            raise BusUnavailable(
                f"the message bus did not accept the order within {self._timeout_s:g} s; it is not sent, try again"
            ) from error

    async def _settle(self, command: Command, state: Literal["published", "failed"]) -> CommandRecord:
        record = await self._in_ledger(self._ledger.settle, command.command_id, state, self._clock())
        self._count(state)
        return record

    def _count(self, state: str) -> None:
        self._metrics.commands.labels(state).inc()

    def _write_notes(self) -> None:
        self._noting = False  # first: what comes from now on is either taken here or brings another call
        entries = [self._notes.popleft() for _ in range(len(self._notes))]
        lost, self._unnoted = self._unnoted, 0
        if lost:
            log.warning("refused orders are not in the audit trail", orders=lost, reason="too many at once")
        try:
            self._ledger.note(*entries)
        except HeatfleetError as error:
            log.warning("refused orders are not in the audit trail", orders=len(entries), reason=str(error))

    async def _in_ledger(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        work = self._ledger_thread.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(work)
