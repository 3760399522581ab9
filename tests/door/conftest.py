"""Servers by both ways: through the door, and by uvicorn alone."""

from collections.abc import Iterator

import pytest

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
