"""How orders and keys stand in the columns of a database, and what follows from them, whichever database it is."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from heatfleet.domain.access import SCOPES, Actor, ApiKey, AuditEntry, Bounds
from heatfleet.domain.commands import Command, CommandRecord
from heatfleet.errors import KeyReused, NotFound

KEY_LIFE_MS = 24 * 3_600_000
"""How long an Idempotency-Key stands for its orders."""


def order_columns(command: Command) -> dict[str, str | int | None]:
    """A new row of the table ``command``, by the names of its columns."""
    return {
        "command_id": command.command_id,
        "device_id": command.device_id,
        "product_id": command.product_id,
        "switch": command.switch,
        "issued_at_ms": command.issued_at_ms,
        "expires_at_ms": command.expires_at_ms,
    }


def record_of(row: Sequence[Any], now_ms: int) -> CommandRecord:
    """A row of the view ``command_record`` as it stands now: time and newer orders change what was written."""
    *order, state, sequence, settled_at_ms, superseded = row
    command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms = order
    if superseded:
        state = "superseded"
    elif state == "published" and expires_at_ms <= now_ms:
        state = "expired"
    command = Command(command_id, device_id, product_id, bool(switch), issued_at_ms, expires_at_ms)
    return CommandRecord(command, state, sequence or 0, settled_at_ms)


def accepted(commands: Sequence[Command], earlier: Sequence[CommandRecord]) -> list[CommandRecord]:
    """The records of orders, given the earlier ones (or none) that their Idempotency-Key stands for.

    Those that failed are orders anew. Raises ``KeyReused`` if the key stands for other orders.
    """
    if earlier and _asked(commands) != _asked([record.command for record in earlier]):
        raise KeyReused("this Idempotency-Key was used for another order; take a new key")
    return [
        before if before is not None and before.state != "failed" else CommandRecord(command, "accepted", 0, None)
        for command, before in zip_longest(commands, earlier)
    ]


def _asked(commands: Sequence[Command]) -> list[tuple[str, bool]]:
    return [(command.device_id, command.switch) for command in commands]


def order_lines(commands: Sequence[Command], records: Sequence[CommandRecord], by: Actor) -> Iterator[AuditEntry]:
    """One line of the audit trail for each order that was given, also for one that stands for an earlier one."""
    for command, record in zip(commands, records, strict=True):
        yield AuditEntry(
            at_ms=command.issued_at_ms,
            actor=by,
            action="order",
            subject=command.device_id,
            detail="on" if command.switch else "off",
            result="accepted" if record.command is command else "repeated",
            command_id=record.command.command_id,
        )


def audit_columns(entry: AuditEntry) -> tuple[str | int | None, ...]:
    """A new row of the table ``audit``, without its number."""
    it, who = entry, entry.actor
    return it.at_ms, who.name, who.address, it.action, it.subject, it.detail, it.result, it.command_id


def audit_line(row: Sequence[Any]) -> tuple[int, AuditEntry]:
    """A row of the table ``audit``: its number, and the line."""
    entry, at_ms, actor, address, *rest = row
    return entry, AuditEntry(at_ms, Actor(actor, address), *rest)


def key_columns(key: ApiKey) -> dict[str, Any]:
    """A row of the table ``api_key``, by the names of its columns."""
    return {
        "key_id": key.key_id,
        "digest": key.digest,
        "name": key.name,
        "scopes": key.scopes_text,
        "device_prefix": key.bounds.device_prefix,
        "product_prefix": key.bounds.product_prefix,
        "messages_per_s": key.messages_per_s,
        "commands_per_min": key.commands_per_min,
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
        "replaced_by": key.replaced_by,
        "used_at_ms": key.used_at_ms,
    }


def key_of(row: Sequence[Any]) -> ApiKey:
    """The key of a row of the table ``api_key``, in the order of ``key_columns``."""
    key_id, digest, name, scopes, device_prefix, product_prefix, *rest = row
    messages_per_s, commands_per_min, created_at_ms, *times = rest
    known = frozenset(scope for scope in SCOPES if scope in scopes.split())
    bounds = Bounds(device_prefix, product_prefix)
    return ApiKey(key_id, digest, name, known, created_at_ms, bounds, messages_per_s, commands_per_min, *times)


def known_key(row: Sequence[Any] | None) -> ApiKey:
    """The key of a row that was looked for; ``NotFound`` if there is none."""
    if row is None:
        raise NotFound("there is no key with this id: `heatfleet keys list --all` shows those there are")
    return key_of(row)


def expect_replaceable(key: ApiKey, at_ms: int) -> None:
    """Raise ``NotFound`` if another key cannot take the place of this one at that time."""
    if (state := key.state(at_ms)) != "active":
        msg = f"this key is {state}, so nothing can take its place: create a new one"
        raise NotFound(msg)
    if key.replaced_by is not None:
        msg = f"this key was replaced by {key.replaced_by} already: rotate that one"
        raise NotFound(msg)
