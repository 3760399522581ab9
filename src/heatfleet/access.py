"""Who calls, what they may do, and how much of it: judges API keys and holds each caller to its limits.

While no key was ever made, and the server listens to its own machine alone, whoever calls from there may do everything.
From the first key on everybody needs one, also when all are revoked again. Keys are held in memory, and looked after
by a task that asks the key ring for changes: a revoked key opens nothing ``REFRESH_S`` later, in every server.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Self

import structlog

from heatfleet.domain.access import ANYTHING, LOCAL, Actor, ApiKey, Bounds, Scope, digest_of, is_well_formed
from heatfleet.errors import NotAllowed, StoreUnavailable, TooMany
from heatfleet.storage.base import KeyRing

REFRESH_S = 1.0
UNREAD_S = 10.0
"""When keys could not be read for so long, the server counts as not ready."""
BAD_MESSAGE = 10
"""How many messages of a limit a refused one counts for."""
NOTE_USE_S = 60.0
WRONG_KEYS_PER_MIN = 20
"""How many wrong keys one address may show before it is told to wait; a right key is never made to wait by it."""
_ADDRESSES_MAX = 10_000

log = structlog.get_logger(__name__)

_EVERYTHING = ApiKey(LOCAL, b"", LOCAL, frozenset({"admin"}), 0, messages_per_s=0, commands_per_min=0)


class Budget:
    """So many a second and no more, on average; 0 is no limit.

    What is taken may be more than there is, once: then it has to be earned back before anything else is given. So a
    large batch passes under a small limit, but not often. After a pause up to twice ``at_once`` passes, and that.
    """

    def __init__(self, per_s: float, *, at_once: float) -> None:
        self._per_s, self._at_once = per_s, at_once
        self.left = at_once if per_s else 1.0
        """How much may be taken at once; below 1 nothing, unless ``wait_s`` finds that more was earned since."""
        self._as_of_s = time.monotonic()

    def wait_s(self) -> float:
        """How long to wait before something may be taken: 0 for not at all."""
        if self.left >= 1:
            return 0.0
        now_s = time.monotonic()
        self.left = min(self._at_once, self.left + (now_s - self._as_of_s) * self._per_s)
        self._as_of_s = now_s
        return 0.0 if self.left >= 1 else (1 - self.left) / self._per_s

    def take(self, amount: int) -> None:
        """Take so many."""
        if self._per_s:
            self.left -= amount


class Caller:
    """One who calls, by its key."""

    __slots__ = ("bounds", "key", "messages", "orders", "used", "who")

    def __init__(self, key: ApiKey, *, messages_per_s: int, commands_per_min: int) -> None:
        self.key = key
        self.bounds: Bounds | None = None if key.bounds == ANYTHING else key.bounds
        """Which devices it is for; ``None`` for all."""
        self.who = None if key is _EVERYTHING else key.key_id
        """Its name where callers are told apart; ``None`` where nobody needs a key."""
        self.used = False
        per_s = messages_per_s if key.messages_per_s is None else key.messages_per_s
        per_min = commands_per_min if key.commands_per_min is None else key.commands_per_min
        self.messages = Budget(per_s, at_once=max(per_s, 1))
        self.orders = Budget(per_min / 60, at_once=max(per_min, 1))

    def go_on_from(self, before: "Caller") -> None:
        """Be the same caller, of whom something else is known now: what it has used up stays so."""
        self.used = before.used
        if (self.key.messages_per_s, self.key.commands_per_min) == (
            before.key.messages_per_s,
            before.key.commands_per_min,
        ):
            self.messages, self.orders = before.messages, before.orders

    def expect(self, scope: Scope) -> None:
        """Raise ``NotAllowed`` unless its key was made for this."""
        if not self.key.may(scope):
            raise NotAllowed("missing-scope", f"this key is not made for this: it needs the scope {scope}")

    def covers(self, device_id: str, product_id: str | None) -> bool:
        """Whether it may know of this device."""
        return self.bounds is None or self.bounds.covers(device_id, product_id)

    def check_messages(self) -> None:
        """Raise ``TooMany`` when it has sent more messages than its limit; asked before a body is looked at."""
        if self.messages.left < 1 and (wait_s := self.messages.wait_s()):
            raise TooMany("this key has sent more messages than its limit; send these again later", ceil(wait_s))

    def count_messages(self, good: int, bad: int) -> None:
        """Count what was taken, and what was refused: that costs several times as much, and counts so."""
        self.used = True
        self.messages.take(good + BAD_MESSAGE * bad if bad else good)

    def take_orders(self, orders: int) -> None:
        """Raise ``TooMany`` when it has given more orders than its limit; count these otherwise."""
        if wait_s := self.orders.wait_s():
            raise TooMany("this key has given more orders than its limit; nothing was sent", ceil(wait_s))
        self.used = True
        self.orders.take(orders)

    def actor(self, address: str) -> Actor:
        """Who that is, for the audit trail."""
        return Actor(self.key.key_id, address)


class Access:
    """The callers there are. Use it in an ``async with`` block, on one event loop.

    ``may_be_open``: nobody needs a key until the first one is made. The limits are those of keys that have none of
    their own. Raises ``StoreUnavailable`` on entering when the keys cannot be read.
    """

    def __init__(
        self,
        ring: KeyRing,
        *,
        may_be_open: bool,
        messages_per_s: int,
        commands_per_min: int,
        clock: Callable[[], int],
    ) -> None:
        self._ring = ring
        self._may_be_open = may_be_open
        self._limits = {"messages_per_s": messages_per_s, "commands_per_min": commands_per_min}
        self._clock = clock
        self._everybody = Caller(_EVERYTHING, **self._limits)
        self._callers: dict[bytes, Caller] = {}
        self._version = -1
        self._any_key_was_made = True
        self._trouble = False
        self._keys_read_s = time.monotonic()
        self._wrong: dict[str, tuple[float, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self.changed: list[Callable[[], object]] = []
        """Called whenever a verdict of before may be another now."""

    async def __aenter__(self) -> Self:
        await self.refresh()
        self._task = asyncio.create_task(self._keep_up(self._clock()))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(StoreUnavailable):
            await self._note_used()

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Whether keys could not be read for so long that one which was revoked may still be taken."""
        if self._task is None or time.monotonic() - self._keys_read_s < UNREAD_S:
            return None
        return StoreUnavailable("API keys cannot be read; those known before go on, and changes are not heeded")

    @property
    def is_open(self) -> bool:
        """Whether callers need no key."""
        return self._may_be_open and not self._any_key_was_made

    def knows(self, credentials: str | None) -> Caller | None:
        """The caller with these credentials (a field ``Authorization``), if they are good; nothing is counted."""
        if self.is_open:
            return self._everybody
        kind, _, key = (credentials or "").partition(" ")
        key = key.strip()
        if kind.lower() != "bearer" or not is_well_formed(key):
            return None
        caller = self._callers.get(digest_of(key))
        return caller if caller is not None and caller.key.state(self._clock()) == "active" else None

    def admit(self, credentials: str | None, address: str) -> Caller:
        """As ``knows``; raises ``NotAllowed`` when they are not good, and ``TooMany`` for too many such ones."""
        caller = self.knows(credentials)
        if caller is not None:
            caller.used = True
            return caller
        if credentials is None:
            raise NotAllowed(
                "needs-key", "an API key is needed here: send it in the header Authorization: Bearer heat_..."
            )
        self.count_wrong(address)
        kind, _, key = credentials.partition(" ")
        if kind.lower() != "bearer":
            raise NotAllowed("bad-key", "the header must be Authorization: Bearer, and the key")
        known = self._callers.get(digest_of(key.strip()))
        if known is not None:
            raise NotAllowed("bad-key", f"this key is {known.key.state(self._clock())}; ask for a new one")
        if not is_well_formed(key.strip()):
            raise NotAllowed("bad-key", "this is no key of Heatfleet's, or it was copied incompletely")
        raise NotAllowed("bad-key", "this key is not known here")

    def expect_still(self, caller: Caller) -> None:
        """Raise ``NotAllowed`` if one who was let in earlier would not be let in now."""
        if not self.still_knows(caller):
            raise NotAllowed("bad-key", "this key has ended while the request was under way; nothing of it was taken")

    def still_knows(self, caller: Caller) -> bool:
        """Whether one who was let in earlier would be let in now."""
        if caller is self._everybody:
            return self.is_open
        known = self._callers.get(caller.key.digest)
        return known is not None and known.key.state(self._clock()) == "active"

    async def refresh(self) -> None:
        """Read the keys anew, if they have changed."""
        version = await asyncio.to_thread(self._ring.version)
        if version == self._version:
            return
        keys = await asyncio.to_thread(self._ring.keys)
        before, self._callers = self._callers, {}
        for key in keys:
            caller = self._callers[key.digest] = Caller(key, **self._limits)
            if key.digest in before:
                caller.go_on_from(before[key.digest])
        self._version = version
        self._any_key_was_made = bool(keys)
        self._tell()

    def _tell(self) -> None:
        for told in tuple(self.changed):
            told()

    async def _keep_up(self, since_ms: int) -> None:
        """Follow the changes, and tell when a key's time is over."""
        noted_s = time.monotonic()
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
                self._keys_read_s = time.monotonic()
                if time.monotonic() - noted_s > NOTE_USE_S:
                    noted_s = time.monotonic()
                    await self._note_used()
            except Exception as error:  # whatever it is, changes that come later must be followed
                if not self._trouble:
                    log.exception("keys cannot be followed; those of before go on", reason=str(error))
                self._trouble = True
            else:
                self._trouble = False
            now_ms = self._clock()
            ends = [caller.key.expires_at_ms for caller in self._callers.values()]
            if any(end is not None and since_ms < end <= now_ms for end in ends):
                self._tell()
            since_ms = now_ms

    async def _note_used(self) -> None:
        used = [caller for caller in self._callers.values() if caller.used]
        if used:
            now_ms = self._clock()
            await asyncio.to_thread(self._ring.note_used, {caller.key.key_id: now_ms for caller in used})
            for caller in used:
                caller.used = False

    def count_wrong(self, address: str) -> None:
        """Raise ``TooMany`` when this address has shown too many wrong keys within a minute, with this one."""
        place = _place(address)
        now_s = time.monotonic()
        since_s, count = self._wrong.get(place, (now_s, 0))
        if now_s - since_s > 60:
            since_s, count = now_s, 0
        if len(self._wrong) >= _ADDRESSES_MAX and place not in self._wrong:
            self._wrong.clear()
        self._wrong[place] = since_s, count + 1
        if count == WRONG_KEYS_PER_MIN:
            log.warning("too many wrong keys", address=place)
        if count >= WRONG_KEYS_PER_MIN:
            raise TooMany("too many wrong keys from this address", ceil(60 - (now_s - since_s)) or 1)


def _place(address: str) -> str:
    """What counts as one address: with IPv6 whoever has one has 2^64 of them."""
    try:
        known = ip_address(address)
    except ValueError:
        return ""
    return str(known) if known.version == 4 else str(ip_network((known, 64), strict=False))
