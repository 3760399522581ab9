"""API keys in the ledger's database; ``schema/*.sql`` show their table."""

from collections.abc import Mapping
from dataclasses import replace

import psycopg

from heatfleet.domain.access import Actor, ApiKey, AuditEntry
from heatfleet.domain.commands import rfc3339
from heatfleet.errors import StoreUnavailable
from heatfleet.storage.base.as_kept import expect_replaceable, key_columns, key_of, known_key
from heatfleet.storage.postgresql.audit import note
from heatfleet.storage.postgresql.connect import Tx
from heatfleet.storage.postgresql.schema import open_database

KEYS = """SELECT key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s, commands_per_min,
    created_at_ms, expires_at_ms, revoked_at_ms, replaced_by, used_at_ms
FROM api_key ORDER BY number"""

HOLD_KEY = KEYS.replace("ORDER BY number", "WHERE key_id = %s FOR UPDATE")

ADD = """INSERT INTO api_key (key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s,
    commands_per_min, created_at_ms, expires_at_ms, revoked_at_ms, replaced_by, used_at_ms)
VALUES (%(key_id)s, %(digest)s, %(name)s, %(scopes)s, %(device_prefix)s, %(product_prefix)s, %(messages_per_s)s,
    %(commands_per_min)s, %(created_at_ms)s, %(expires_at_ms)s, %(revoked_at_ms)s, %(replaced_by)s, %(used_at_ms)s)"""

REPLACED = "UPDATE api_key SET replaced_by = %s, expires_at_ms = %s WHERE key_id = %s"

REVOKE = "UPDATE api_key SET revoked_at_ms = %s WHERE key_id = %s"

# From A to Z: servers that note the same keys at once do not wait for each other in a circle.
USED = """UPDATE api_key SET used_at_ms = greatest(coalesce(api_key.used_at_ms, 0), it.used_at_ms)
FROM (SELECT used.* FROM unnest(%s::text[], %s::bigint[]) AS used (key_id, used_at_ms)
      JOIN api_key USING (key_id) ORDER BY key_id FOR UPDATE OF api_key) AS it
WHERE api_key.key_id = it.key_id"""


class PostgresKeyRing:
    """API keys in PostgreSQL, durable by its commits. Any thread may call, and any server."""

    def __init__(self, url: str, *, writable: bool = True) -> None:
        self._database = open_database(url, writable=writable)

    def keys(self) -> list[ApiKey]:
        """All keys ever made, in the order they were made."""
        with self._database.connection() as connection:
            return [key_of(row) for row in connection.execute(KEYS)]

    def version(self) -> int:
        """How often anything was changed, by whatever hand: the table's triggers count."""
        with self._database.connection() as connection:
            [version] = connection.execute("SELECT version FROM api_key_version").fetchone() or (0,)
            return int(version)

    def add(self, key: ApiKey, *, by: Actor) -> None:
        """Keep a new key."""
        with self._database.transaction() as tx:
            _keep(tx, key)
            note(tx, [_made(key, by)])

    def replace(self, key_id: str, key: ApiKey, *, expires_at_ms: int, by: Actor) -> ApiKey:
        """Keep a new key in the place of one that goes on for a while."""
        with self._database.transaction() as tx:
            old = known_key(tx.execute(HOLD_KEY, [key_id]).fetchone())
            expect_replaceable(old, key.created_at_ms)
            end_ms = expires_at_ms if old.expires_at_ms is None else min(expires_at_ms, old.expires_at_ms)
            _keep(tx, key)
            tx.execute(REPLACED, [key.key_id, end_ms, key_id])
            told = f"replaced by {key.key_id}; until {rfc3339(end_ms)}"
            made = _made(key, by, f"; in the place of {key_id}")
            note(tx, [made, AuditEntry(key.created_at_ms, by, "key-rotate", key_id, told, "done")])
            return replace(old, replaced_by=key.key_id, expires_at_ms=end_ms)

    def revoke(self, key_id: str, at_ms: int, *, by: Actor) -> ApiKey:
        """End a key from this moment; one that was revoked before stays as it is."""
        with self._database.transaction() as tx:
            key = known_key(tx.execute(HOLD_KEY, [key_id]).fetchone())
            if key.revoked_at_ms is None:
                key = replace(key, revoked_at_ms=at_ms)
                tx.execute(REVOKE, [at_ms, key_id])
                note(tx, [AuditEntry(at_ms, by, "key-revoke", key_id, key.rights_text, "done")])
            return key

    def note_used(self, used_at_ms: Mapping[str, int]) -> None:
        """Remember when keys were last used."""
        with self._database.transaction() as tx:
            tx.execute(USED, [list(used_at_ms), list(used_at_ms.values())])

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()


def _keep(tx: Tx, key: ApiKey) -> None:
    try:
        tx.execute(ADD, key_columns(key))
    except psycopg.errors.UniqueViolation as error:
        raise StoreUnavailable("there is such a key already; nothing was kept, so make another") from error


def _made(key: ApiKey, by: Actor, more: str = "") -> AuditEntry:
    return AuditEntry(key.created_at_ms, by, "key-create", key.key_id, key.rights_text + more, "done")
