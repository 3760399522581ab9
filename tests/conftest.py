"""What all tests share: a clean environment, and real servers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.pubsub_server import PubSubServer
from tests.serving import RunningServer, clean_environment

# Half of what hypothesis does by itself: `make soak` does twenty times as much.
settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile("default")

pytest_plugins = ["tests.bigquery_server.running", "tests.figures"]


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """Settings of whoever runs the tests do not reach them."""
    kept = clean_environment()
    for name in set(os.environ) - set(kept):
        del os.environ[name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio."""
    return "asyncio"


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts a server over an empty store of its own, with settings by name."""
    started: list[RunningServer] = []

    def start(**settings: Any) -> RunningServer:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(RunningServer(folder, **settings))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    """A server of this test's own, over an empty store."""
    return start_server()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that tests share which do not mind what others have stored."""
    running = RunningServer(tmp_path_factory.mktemp("shared-server"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def _pubsub_process() -> Iterator[PubSubServer]:
    with PubSubServer() as running:
        yield running


@pytest.fixture
def pubsub_server(_pubsub_process: PubSubServer) -> Iterator[PubSubServer]:
    """A Pub/Sub server in good order, shared by tests that give their topics names of their own."""
    yield _pubsub_process
    _pubsub_process.mend()
