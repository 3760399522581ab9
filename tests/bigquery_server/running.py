"""A local BigQuery as a process beside the tests, and where it is reached."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.bigquery_server.append_faults import AppendsOnTheWay
from tests.bigquery_server.rest_faults import RestOnTheWay

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.prefix) / "bigquery-server" / "bin" / "python"
PROJECT = "heatfleet-tests"


@dataclass(frozen=True)
class Address:
    """Where a BigQuery is, by REST and by gRPC, each as HOST:PORT."""

    rest: str
    grpc: str

    def url(self, dataset: str) -> str:
        """What HEATFLEET_STORE says to keep readings in this dataset."""
        return f"bigquery://{PROJECT}/{dataset}?rest={self.rest}&grpc={self.grpc}"

    def client(self) -> bigquery.Client:
        """Google's own client for it."""
        options = ClientOptions(api_endpoint=f"http://{self.rest}")
        return bigquery.Client(PROJECT, AnonymousCredentials(), client_options=options)  # type: ignore[no-untyped-call]


class BigQueryServer:
    """One server process. It is started when it is first asked for, and anew, empty, when it has died."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._address = Address("", "")
        self._numbers = itertools.count()

    @property
    def address(self) -> Address:
        """Where it is now."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        return self._address

    def dataset(self) -> str:
        """A dataset that is new and empty."""
        name = f"dataset_{os.getpid()}_{next(self._numbers)}"
        with self.address.client() as client:
            client.create_dataset(name)
        return name

    def close(self) -> None:
        """End it, if it was started."""
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.kill()

    def _start(self) -> None:
        self.close()
        with self._log.open("ab") as log:
            command = [str(PYTHON), "-m", "tests.bigquery_server.launch"]
            pipe = subprocess.PIPE  # held open for as long as this process lives
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=log)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                ports = json.loads(line)
                self._address = Address(f"127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}")
                return
        raise AssertionError(f"no BigQuery for tests: {self._log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQueryServer]:
    """A local BigQuery that tests share, each with datasets of its own: it starts in some seconds, and takes 160 MB."""
    if not PYTHON.exists():
        pytest.fail("`make test` installs the BigQuery for tests; it is missing")
    server = BigQueryServer(tmp_path_factory.mktemp("bigquery") / "server.log")
    yield server
    server.close()


@pytest.fixture
def dataset(bigquery_server: BigQueryServer) -> str:
    """A dataset of this test's own."""
    return bigquery_server.dataset()


class FaultyBigQuery:
    """A way to a BigQuery on which things go wrong, when ``appends.switch`` or ``rest.switch`` is set."""

    def __init__(self, beyond: Address) -> None:
        self.appends = AppendsOnTheWay(beyond.grpc)
        self.rest = RestOnTheWay(beyond.rest)
        self.address = Address(f"127.0.0.1:{self.rest.port}", f"127.0.0.1:{self.appends.port}")

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self.appends.down()
        self.rest.down()

    def up(self) -> None:
        """Listen again, at the same address."""
        self.appends.up()
        self.rest.up()

    def close(self) -> None:
        """End it."""
        self.appends.close()
        self.rest.close()


@pytest.fixture
def faulty_bigquery(bigquery_server: BigQueryServer) -> Iterator[FaultyBigQuery]:
    """A way of this test's own to the BigQuery of all."""
    faulty = FaultyBigQuery(bigquery_server.address)
    yield faulty
    faulty.close()
