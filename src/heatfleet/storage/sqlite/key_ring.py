"""API keys in the ledger's file, ``<store>.d/ledger.db``; ``schema/ledger_002.sql`` shows their table."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock

import apsw

from heatfleet.domain.access import Actor, ApiKey, AuditEntry
from heatfleet.domain.commands import rfc3339
from heatfleet.errors import StoreUnavailable
from heatfleet.storage.base.as_kept import expect_replaceable, key_columns, key_of, known_key
from heatfleet.storage.sqlite.audit import note
from heatfleet.storage.sqlite.connect import damage_as_error, open_database, transaction, unavailable_as_error

KEYS = """SELECT key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s, commands_per_min,
    created_at_ms, expires_at_ms, revoked_at_ms, replaced_by, used_at_ms
FROM api_key"""

ALL_KEYS = f"{KEYS} ORDER BY rowid"

ONE_KEY = f"{KEYS} WHERE key_id = :key_id"

VERSION = "SELECT version FROM api_key_version"

ADD = """INSERT INTO api_key (key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s,
    commands_per_min, created_at_ms, expires_at_ms, revoked_at_ms, replaced_by, used_at_ms)
VALUES (:key_id, :digest, :name, :scopes, :device_prefix, :product_prefix, :messages_per_s,
    :commands_per_min, :created_at_ms, :expires_at_ms, :revoked_at_ms, :replaced_by, :used_at_ms)"""

REPLACED = "UPDATE api_key SET replaced_by = :replaced_by, expires_at_ms = :expires_at_ms WHERE key_id = :key_id"

REVOKE = "UPDATE api_key SET revoked_at_ms = :at_ms WHERE key_id = :key_id"

USED = "UPDATE api_key SET used_at_ms = max(coalesce(used_at_ms, 0), :at_ms) WHERE key_id = :key_id"


class SqliteKeyRing:
    """API keys in SQLite, durable by a sync at every write. Any thread may call; calls take turns."""

    def __init__(self, store_path: str, *, writable: bool = True) -> None:
        self._path = Path(f"{store_path}.d") / "ledger.db"
        self._turn = Lock()
        self._db = open_database(self._path, "ledger", writable=writable)

    def keys(self) -> list[ApiKey]:
        """All keys ever made, in the order they were made."""
        with self._access():
            return [key_of(row) for row in self._db.execute(ALL_KEYS)]

    def version(self) -> int:
        """How often anything was changed, by whatever hand: the table's triggers count."""
        with self._access():
            return int(self._db.execute(VERSION).get)

    def add(self, key: ApiKey, *, by: Actor) -> None:
        """Keep a new key."""
        with self._access(), transaction(self._db):
            self._keep(key, by, key.rights_text)

    def replace(self, key_id: str, key: ApiKey, *, expires_at_ms: int, by: Actor) -> ApiKey:
        """Keep a new key in the place of one that goes on for a while."""
        with self._access(), transaction(self._db):
            old = self._find(key_id)
            expect_replaceable(old, key.created_at_ms)
            end_ms = expires_at_ms if old.expires_at_ms is None else min(expires_at_ms, old.expires_at_ms)
            self._keep(key, by, f"{key.rights_text}; in the place of {key_id}")
            self._db.execute(REPLACED, {"replaced_by": key.key_id, "expires_at_ms": end_ms, "key_id": key_id})
            detail = f"replaced by {key.key_id}; until {rfc3339(end_ms)}"
            self._note(key.created_at_ms, by, "key-rotate", key_id, detail)
            return replace(old, replaced_by=key.key_id, expires_at_ms=end_ms)

    def revoke(self, key_id: str, at_ms: int, *, by: Actor) -> ApiKey:
        """End a key from this moment; one that was revoked before stays as it is."""
        with self._access(), transaction(self._db):
            key = self._find(key_id)
            if key.revoked_at_ms is None:
                key = replace(key, revoked_at_ms=at_ms)
                self._db.execute(REVOKE, {"key_id": key_id, "at_ms": at_ms})
                self._note(at_ms, by, "key-revoke", key_id, key.rights_text)
            return key

    def note_used(self, used_at_ms: Mapping[str, int]) -> None:
        """Remember when keys were last used."""
        with self._access(), transaction(self._db):
            self._db.executemany(USED, [{"key_id": key_id, "at_ms": at_ms} for key_id, at_ms in used_at_ms.items()])

    def close(self) -> None:
        """Let go of the file."""
        with self._access():
            self._db.close()

    def _find(self, key_id: str) -> ApiKey:
        return known_key(self._db.execute(ONE_KEY, {"key_id": key_id}).fetchone())

    def _keep(self, key: ApiKey, by: Actor, detail: str) -> None:
        try:
            self._db.execute(ADD, key_columns(key))
        except apsw.ConstraintError as error:
            raise StoreUnavailable("there is such a key already; nothing was kept, so make another") from error
        self._note(key.created_at_ms, by, "key-create", key.key_id, detail)

    def _note(self, at_ms: int, by: Actor, action: str, subject: str, detail: str) -> None:
        note(self._db, [AuditEntry(at_ms, by, action, subject, detail, "done")])

    @contextmanager
    def _access(self) -> Iterator[None]:
        with self._turn, damage_as_error(self._path), unavailable_as_error(self._path):
            yield
