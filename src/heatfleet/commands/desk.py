"""The desk where orders are given.

An order is *accepted* once the ledger has it on disk, and *published* once the bus has it too. Only then is the client
told, and only then do listeners see it. A crash in between leaves an order that is merely accepted: nobody was told, so
the next start, or another server that shares the ledger, settles it as failed instead of sending it late.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ParamSpec, Self, TypeVar
from weakref import WeakValueDictionary

from heatfleet.commands.follower import Follower
from heatfleet.commands.listener import Listener, Listeners
from heatfleet.commands.refusals import Refusals
from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.domain.commands import Audience, Command, CommandRecord
from heatfleet.errors import BusUnavailable, KeyReused, NotFound, Overloaded
from heatfleet.messaging.base import Bus
from heatfleet.metrics import Metrics
from heatfleet.storage.base import Ledger, Settled, Store

Outcome = CommandRecord | BusUnavailable
"""What became of one of many orders: its record, or why the bus did not accept it."""

ORDERS_WAITING_MAX = 20_000
"""Orders that may be under way; more are refused rather than kept waiting for seconds."""
_REQUEST_ORDERS_MIN = 20
"""What a request counts for at least: it takes a sync of the disk, however few its orders are."""
_ELSEWHERE_S = 0.05
"""How often it is looked what became of an order that another server has under way."""
_LATER_S = 5.0
"""For so long after it must be known what the bus says, the database may be waited for."""
UNKNOWN_ORDER = "there is no order with this id"

P = ParamSpec("P")
R = TypeVar("R")


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
        self._refusals = Refusals(self._ledger_thread, ledger.note)
        self._under_way: dict[str, asyncio.Task[Mapping[str, Outcome]]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listeners = Listeners()
        self._follower = Follower(self._ledger_thread, ledger, self._listeners, clock=clock)
        self._waiting = 0

    async def __aenter__(self) -> Self:
        await self._in_ledger(self._ledger.fail_unsettled, self._clock())
        if self._ledger.is_shared:
            await self._follower.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*set(self._under_way.values()), return_exceptions=True)
        await self._follower.stop()
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
        [sent] = await self.send_many([(device_id, switch)], by=by, idempotency_key=idempotency_key)
        if isinstance(sent, BusUnavailable):
            raise sent
        return sent

    async def send_many(
        self, orders: Sequence[tuple[str, bool]], *, by: Actor, idempotency_key: str | None = None
    ) -> Sequence[Outcome]:
        """Send orders, each a device and its switch; gives for each what became of it, as ``send`` does.

        They are written down together, and together it is noted what became of them; of two for one device the later
        wins. The key stands for all of them, in this order: repeated with it, only those that failed are tried again.
        Raises ``Overloaded`` when too many are under way.
        """
        size = max(len(orders), _REQUEST_ORDERS_MIN)
        if self._waiting + size > ORDERS_WAITING_MAX:
            raise Overloaded("too many orders are under way; nothing was sent, try again")
        self._waiting += size
        try:
            return await self._send_many(orders, by, idempotency_key)
        finally:
            self._waiting -= size

    async def _send_many(
        self, orders: Sequence[tuple[str, bool]], by: Actor, idempotency_key: str | None
    ) -> Sequence[Outcome]:
        products = await asyncio.to_thread(self._store.products, [device_id for device_id, _ in orders])
        now_ms = self._clock()
        commands = [
            Command(
                command_id=str(uuid.uuid4()),
                device_id=device_id,
                product_id=products.get(device_id),
                switch=switch,
                issued_at_ms=now_ms,
                expires_at_ms=now_ms + self._ttl_ms,
            )
            for device_id, switch in orders
        ]
        try:
            records = await self._in_ledger(self._ledger.accept_many, commands, by=by, idempotency_key=idempotency_key)
        except KeyReused:
            self.note_refused(*told(orders), by=by, slug="key-reused")
            raise
        new = sum(record.command is command for command, record in zip(commands, records, strict=True))
        self._count("accepted", new)
        self._count("repeated", len(records) - new)
        accepted = [record.command for record in records if record.state == "accepted"]
        waiting = [command for command in accepted if command.command_id not in self._under_way]
        ours = set(commands)
        elsewhere = [command for command in waiting if self._ledger.is_shared and command not in ours]
        self._start([command for command in waiting if command not in elsewhere])
        sent: dict[str, Outcome] = {}
        for task in {self._under_way[it.command_id] for it in accepted if it.command_id in self._under_way}:
            # A request that is given up, or repeated meanwhile, neither stops the orders nor sends them again.
            sent |= await asyncio.shield(task)
        for command in elsewhere:
            sent[command.command_id] = await self._outcome_elsewhere(command.command_id)
        return [sent.get(record.command.command_id, record) for record in records]

    def note_refused(self, device_id: str, detail: str, *, by: Actor, slug: str) -> None:
        """Have it noted, soon, that an order was refused with this problem: it never fails, and nobody waits for it.

        ``detail`` is ``on`` or ``off``, or of many orders their number; ``device_id`` is empty then.
        """
        self._count("refused", 1)
        self._refusals.note(AuditEntry(self._clock(), by, "order", device_id, detail, result=slug))

    async def command(self, command_id: str) -> CommandRecord:
        """An order as it stands now; ``NotFound`` for an id never given."""
        record = await self._in_ledger(self._ledger.command, command_id, self._clock())
        if record is None:
            raise NotFound(UNKNOWN_ORDER)
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

    def _start(self, commands: Sequence[Command]) -> None:
        """Begin to publish these orders."""
        if commands:
            task = asyncio.create_task(self._publish(commands))
            self._under_way |= dict.fromkeys([command.command_id for command in commands], task)
            task.add_done_callback(lambda done: self._finish(commands, done))

    def _finish(self, commands: Sequence[Command], task: asyncio.Task[Mapping[str, Outcome]]) -> None:
        for command in commands:
            del self._under_way[command.command_id]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it too; if nobody does, it is no news for the log

    async def _publish(self, commands: Sequence[Command]) -> Mapping[str, Outcome]:
        """Hand orders to the bus and settle them, before the deadline or not at all.

        Orders of one device take turns: the bus and the ledger agree on which is the last, and the last one wins. Who
        needs the turns of many devices waits for one after the other, always from A to Z: so nobody waits in a circle.
        """
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        async with AsyncExitStack() as turns:
            for device_id in sorted({command.device_id for command in commands}):
                await turns.enter_async_context(self._turns.setdefault(device_id, asyncio.Lock()))
            refusals = await self._hand_over(commands, deadline_s)
            records = await self._settle(commands, refusals)
            if self._ledger.is_shared:
                self._follower.wake()
            else:
                for record, refusal in zip(records, refusals, strict=True):
                    if refusal is None:
                        self._listeners.tell(record)
        return {
            record.command.command_id: refusal or _noted(record)
            for record, refusal in zip(records, refusals, strict=True)
        }

    async def _hand_over(self, commands: Sequence[Command], deadline_s: float) -> Sequence[BusUnavailable | None]:
        """What the bus says of each order, if there is still time to ask it."""
        left_s = deadline_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            late = f"the message bus did not accept the order within {self._timeout_s:g} s; it is not sent, try again"
            return [BusUnavailable(late)] * len(commands)
        now_ms = self._clock()
        live = [command for command in commands if now_ms < command.expires_at_ms]
        refusals = await self._bus.publish_many(live, timeout_s=left_s) if live else []
        said = dict(zip([command.command_id for command in live], refusals, strict=True))
        expired = BusUnavailable("the order expired before it could be published; it is not sent, try again")
        return [said.get(command.command_id, expired) for command in commands]

    async def _outcome_elsewhere(self, command_id: str) -> Outcome:
        """What becomes of an order that another server has under way: it publishes it, and nobody else."""
        try:
            async with asyncio.timeout(self._timeout_s + _LATER_S):
                while (record := await self.command(command_id)).state == "accepted":  # noqa: ASYNC110
                    await asyncio.sleep(_ELSEWHERE_S)
        except TimeoutError:
            return BusUnavailable("another server has this order under way; ask again with the same Idempotency-Key")
        if record.state == "failed":
            return BusUnavailable("in another server the bus did not accept the order; it is not sent, try again")
        return record

    async def _settle(
        self, commands: Sequence[Command], refusals: Sequence[BusUnavailable | None]
    ) -> Sequence[CommandRecord]:
        settled: list[Settled] = [
            (command.command_id, "published" if refusal is None else "failed")
            for command, refusal in zip(commands, refusals, strict=True)
        ]
        records = await self._in_ledger(self._ledger.settle_many, settled, self._clock())
        published = refusals.count(None)
        self._count("published", published)
        self._count("failed", len(settled) - published)
        return records

    def _count(self, state: str, orders: int) -> None:
        if orders:
            self._metrics.commands.labels(state).inc(orders)

    async def _in_ledger(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        work = self._ledger_thread.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(work)


def _noted(record: CommandRecord) -> Outcome:
    """What to say of an order that the bus has accepted, as the ledger has it."""
    if record.state == "failed":
        lost = "the database lost sight of this server and noted the order as failed; it may be carried out, try again"
        return BusUnavailable(lost)
    return record


def told(orders: Sequence[tuple[str, bool]]) -> tuple[str, str]:
    """Device and detail of a line in the audit trail about refused orders: of many, their number."""
    if len(orders) > 1:
        return "", f"{len(orders)} orders"
    [(device_id, switch)] = orders
    return device_id, "on" if switch else "off"
