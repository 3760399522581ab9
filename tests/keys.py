"""Keys for tests: made as the command line makes them."""

import time
from contextlib import closing

from heatfleet.domain.access import ANYTHING, Actor, ApiKey, Bounds, Scope, digest_of, new_key
from heatfleet.storage import open_key_ring
from tests.serving import RunningServer

BY_TEST = Actor("cli", "test")


def api_key(
    *scopes: Scope,
    bounds: Bounds = ANYTHING,
    expires_at_ms: int | None = None,
    messages_per_s: int | None = None,
    commands_per_min: int | None = None,
) -> tuple[str, ApiKey]:
    """A new key, and what is kept of it."""
    text, key_id = new_key()
    key = ApiKey(
        key_id=key_id,
        digest=digest_of(text),
        name="test",
        scopes=frozenset(scopes),
        created_at_ms=time.time_ns() // 1_000_000,
        bounds=bounds,
        messages_per_s=messages_per_s,
        commands_per_min=commands_per_min,
        expires_at_ms=expires_at_ms,
    )
    return text, key


def make_key(store_url: str, *scopes: Scope, bounds: Bounds = ANYTHING, **limits: int | None) -> tuple[str, str]:
    """A key that the server over this store knows in a moment, and its id."""
    text, key = api_key(*scopes, bounds=bounds, **limits)
    with closing(open_key_ring(store_url)) as ring:
        ring.add(key, by=BY_TEST)
    return text, key.key_id


def bearer(key: str) -> dict[str, str]:
    """The header that shows it."""
    return {"Authorization": f"Bearer {key}"}


def wait_until_known(server: RunningServer, key: str) -> None:
    """The first keys of a server count within 5 s, as promised; a slow machine is given longer."""
    deadline_s = time.monotonic() + 30
    while server.client.get("/report").status_code != 401:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert server.client.get("/report", headers=bearer(key)).status_code in (200, 403)
