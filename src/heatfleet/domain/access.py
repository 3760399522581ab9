"""Who may do what: keys, scopes, and what is noted of an act. Pure; ``heatfleet.access`` applies it to requests."""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from heatfleet.domain.commands import rfc3339

Scope = Literal["ingest", "command", "command:bulk", "report", "metrics", "admin"]
"""What a key may be made for: ``command`` is one order a request, ``command:bulk`` many, ``admin`` everything."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

KEY_PREFIX = "heat_"
"""All keys begin so: whoever scans files for secrets can find them."""
_ID_CHARS, _SECRET_CHARS, _CHECK_CHARS = 8, 32, 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_is_key = re.compile(rf"{KEY_PREFIX}[0-9A-Za-z]{{{_ID_CHARS}}}_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECK_CHARS}}}").fullmatch

_begins_with_id = re.compile(rf"(?:{KEY_PREFIX})?([0-9A-Za-z]{{{_ID_CHARS}}})(?:_[0-9A-Za-z]*)?").fullmatch


class Actor(NamedTuple):
    """Who acts: ``name`` is a key's id, ``local`` or ``cli``; ``address`` tells from where."""

    name: str
    address: str


class Bounds(NamedTuple):
    """The devices that a key is for: how their ids and those of their products begin; empty for any."""

    device_prefix: str = ""
    product_prefix: str = ""

    def covers(self, device_id: str, product_id: str | None) -> bool:
        """Whether a device is one of them; one of which no product is known is none of a product's."""
        return device_id.startswith(self.device_prefix) and (product_id or "").startswith(self.product_prefix)


ANYTHING = Bounds()

LOCAL = "local"
"""Name of whoever calls without a key, from this machine to one that has none."""
CLI = "cli"
"""Name of whoever types commands on the server's machine; its address is their account."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; ``digest`` is its SHA-256. Of the key itself only ``key_id`` is kept.

    ``messages_per_s`` and ``commands_per_min`` are ``None`` where the server's settings hold; 0 is no limit.
    ``replaced_by`` is the id of the key that was made in its place.
    """

    key_id: str
    digest: bytes
    name: str
    scopes: frozenset[Scope]
    created_at_ms: int
    bounds: Bounds = ANYTHING
    messages_per_s: int | None = None
    commands_per_min: int | None = None
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    replaced_by: str | None = None
    used_at_ms: int | None = None

    def state(self, now_ms: int) -> Literal["active", "expired", "revoked"]:
        """Whether it opens anything at this time."""
        if self.revoked_at_ms is not None:
            return "revoked"
        if self.expires_at_ms is not None and self.expires_at_ms <= now_ms:
            return "expired"
        return "active"

    def may(self, scope: Scope) -> bool:
        """Whether it was made for this: who may order many may order one."""
        one_of_many = scope == "command" and "command:bulk" in self.scopes
        return scope in self.scopes or one_of_many or "admin" in self.scopes

    @property
    def scopes_text(self) -> str:
        """Its scopes for people, always in the same order."""
        return " ".join(scope for scope in SCOPES if scope in self.scopes)

    @property
    def limits_text(self) -> str:
        """Which devices it is for, and how often it may be used, where it has bounds of its own: for people."""
        devices, products = self.bounds
        limits = ((self.messages_per_s, "messages/s"), (self.commands_per_min, "commands/min"))
        told = [f"devices {devices}*"] * bool(devices) + [f"products {products}*"] * bool(products)
        return ", ".join(told + [f"{limit or 'unlimited'} {of}" for limit, of in limits if limit is not None])

    @property
    def rights_text(self) -> str:
        """All that it may do and until when, for people: ``"gateway lyon": ingest; devices fr-*; until 2027-…``."""
        until = "" if self.expires_at_ms is None else f"until {rfc3339(self.expires_at_ms)}"
        return f'"{self.name}": ' + "; ".join(filter(None, (self.scopes_text, self.limits_text, until)))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit trail.

    ``action`` is ``order``, ``key-create``, ``key-rotate`` or ``key-revoke``; ``subject`` the device or key;
    ``detail`` what exactly (``on``, ``off``, scopes). ``result`` is the state of the order, ``done`` for a key, or the
    slug of the problem that the caller was refused with.
    """

    at_ms: int
    actor: Actor
    action: str
    subject: str
    detail: str
    result: str
    command_id: str | None = None


def new_key() -> tuple[str, str]:
    """A key nobody has had before, and its id: 190 bits of chance, and a checksum that tells mistyped ones."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    text = f"{KEY_PREFIX}{key_id}_{secret}"
    return text + _checksum(text), key_id


def is_well_formed(key: str) -> bool:
    """Whether this could be a key at all: judged without looking anything up."""
    return _is_key(key) is not None and _checksum(key[:-_CHECK_CHARS]) == key[-_CHECK_CHARS:]


def id_in(text: str) -> str | None:
    """The id where one is meant: alone, or in a key or part of one that somebody pasted; ``None`` if there is none."""
    found = _begins_with_id(text)
    return None if found is None else found[1]


def digest_of(key: str) -> bytes:
    """What is kept of a key. A fast hash is enough for a secret that nobody can guess."""
    return hashlib.sha256(key.encode("utf-8")).digest()


def _checksum(text: str) -> str:
    """CRC-32 in base 62, as GitHub's tokens have it: https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/."""
    number, digits = zlib.crc32(text.encode("ascii")), ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
