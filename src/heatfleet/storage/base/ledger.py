"""What every ledger of orders promises."""

from collections.abc import Sequence
from typing import Literal, Protocol

from heatfleet.domain.access import Actor, AuditEntry
from heatfleet.domain.commands import Audience, Command, CommandRecord

Settled = tuple[str, Literal["published", "failed"]]
"""The id of an order, and what became of it."""


class Ledger(Protocol):
    """The memory of orders: which were accepted, what became of them. Every write is durable when it returns.

    Every method raises ``StoreUnavailable`` when the disk or database does not let it; nothing was written then, or all
    of it, where a connection was lost in the midst of a commit.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other servers may write here too: then orders are published that nobody here has given."""

    def accept_many(
        self, commands: Sequence[Command], *, by: Actor, idempotency_key: str | None = None
    ) -> Sequence[CommandRecord]:
        """Write orders down before they are published, all or none, and in the audit trail who gave them.

        The key belongs to its actor. If it stands for equal orders (device and switch, one by one) of the last 24 h,
        the earlier records are given back in place of those that did not fail, and the audit trail notes that they
        were ``repeated``; if it stands for other orders, ``KeyReused`` is raised. Of several at the same time with one
        key, on whichever server, one writes orders. An order that comes back as ``accepted`` and is none of these
        commands is under way, in a shared ledger perhaps in another server, which alone publishes it.
        """

    def settle_many(self, outcomes: Sequence[Settled], at_ms: int) -> Sequence[CommandRecord]:
        """Note what became of accepted orders, all or none; the published ones get the next sequences, in this order.

        Sequences become visible in ascending order, whichever server gives them. Earlier unexpired orders of their
        devices are ``superseded`` from then on. An order that is settled already stays as it is: its record tells how.
        Raises ``NotFound`` for an id never accepted.
        """

    def fail_unsettled(self, at_ms: int) -> int:
        """Settle as failed every order that is still only accepted and that nobody will settle; gives their number.

        So are the orders of a ledger that is not open any more, of this server or another. Those that an open one has
        under way stay as they are. To be called at the start, and of a shared ledger now and then.
        """

    def note(self, *entries: AuditEntry) -> None:
        """Add lines to the audit trail, which nobody can change or remove."""

    def audit(
        self,
        now_ms: int,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        subject: str | None = None,
        actor: str | None = None,
        after: int = 0,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[tuple[int, AuditEntry]]:
        """Lines of the audit trail, each with its number, in ascending order from the one that comes ``after``.

        Of more than ``limit`` they are the first, or the ``newest``.
        ``subject`` is a device or key, ``actor`` the name of who acted; with both, lines that fit either are meant.
        ``until_ms`` is exclusive. The result of an order that was accepted is its state at ``now_ms``. Asking does
        not hold up those who write.
        """

    def command(self, command_id: str, now_ms: int) -> CommandRecord | None:
        """One order as it stands at ``now_ms``; ``None`` for an id never given."""

    def last_order(self, device_id: str, now_ms: int) -> CommandRecord | None:
        """The newest order of a device that was published."""

    def open_orders(self, audience: Audience, now_ms: int, *, after: int = 0) -> Sequence[CommandRecord]:
        """The newest order of each device of the audience, if published and unexpired, with a sequence above ``after``.

        In ascending order of sequence. Sequences only ever grow, also from one ledger to the one that replaces it.
        """

    def last_sequence(self) -> int:
        """The greatest sequence that was given, 0 before the first; cheap, to be asked every second."""

    def published(self, now_ms: int, *, after: int, limit: int = 1000) -> Sequence[CommandRecord]:
        """All published orders with a sequence above ``after``, expired and superseded ones too, in ascending order.

        Of more than ``limit`` the first. Who goes on after the last one misses none, whoever published them.
        """

    def close(self) -> None:
        """Let go of files and connections."""
