"""Servers by both ways: through the door, and by uvicorn alone."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from heatfleet.access import Access
from heatfleet.api.gate import Gate
from heatfleet.storage import open_key_ring
from tests.serving import RunningServer


@pytest.fixture(scope="session")
def door(shared_server: RunningServer) -> RunningServer:
    """A server with the door, as users run it."""
    return shared_server


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server without the door: every request takes the ASGI route."""
    running = RunningServer(tmp_path_factory.mktemp("plain-server"), door=False)
    yield running
    running.close()


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """The gate of a server without keys."""
    with closing(open_key_ring(f"sqlite:///{tmp_path_factory.mktemp('no-keys')}/heatfleet.db")) as ring:
        access = Access(ring, may_be_open=True, messages_per_s=0, commands_per_min=0, clock=lambda: 0)
        asyncio.run(access.refresh())
    return Gate(access, host="127.0.0.1", allowed_hosts=frozenset())
