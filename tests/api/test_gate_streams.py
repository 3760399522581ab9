"""What was let in once and lasts is looked at again."""

import time
from collections.abc import Callable
from contextlib import closing

import httpx2
import pytest

from heatfleet.storage import open_key_ring
from tests.keys import BY_TEST, bearer, make_key, wait_until_known
from tests.serving import RunningServer

WAIT_S = 30.0


def is_ended(stream: httpx2.Response) -> bool:
    """Whether the server ends it, before it would send its first comment to keep it alive."""
    began_s = time.monotonic()
    for _ in stream.iter_raw():
        return False
    return time.monotonic() - began_s < WAIT_S


@pytest.mark.parametrize("how", ["revoked", "expired", "first key"])
def test_a_stream_ends_with_its_key(start_server: Callable[..., RunningServer], how: str) -> None:
    """One who may no longer listen hears no more: revoked, expired, or without a key when the first one is made."""
    server = start_server()
    headers = {}
    if how != "first key":
        end_ms = time.time_ns() // 1_000_000 + 6_000 if how == "expired" else None
        text, key_id = make_key(server.store_url, "command", expires_at_ms=end_ms)
        wait_until_known(server, text)
        headers = bearer(text)
    with server.client.stream("GET", "/commands/stream", params={"device_id": "d1"}, headers=headers) as stream:
        assert 200 == stream.status_code
        if how == "first key":
            make_key(server.store_url, "report")
        elif how == "revoked":
            with closing(open_key_ring(server.store_url)) as ring:
                ring.revoke(key_id, 1, by=BY_TEST)

        assert is_ended(stream)


def test_a_stream_goes_on_while_other_keys_change(start_server: Callable[..., RunningServer]) -> None:
    """Keys that come and go concern those who have them."""
    server = start_server()
    text, _ = make_key(server.store_url, "command")
    wait_until_known(server, text)
    with server.client.stream("GET", "/commands/stream", params={"device_id": "d1"}, headers=bearer(text)) as stream:
        other, _ = make_key(server.store_url, "command")
        while server.client.get("/commands/nobody", headers=bearer(other)).status_code == 401:
            time.sleep(0.5)
        order = {"device_id": "d1", "switch": True}
        assert server.client.post("/send", json=order, headers=bearer(other)).is_success

        assert b"d1" in next(stream.iter_raw())
