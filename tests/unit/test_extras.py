"""What is optional costs nobody anything who does not ask for it."""

import json
import subprocess
import sys

OPTIONAL = {"google", "grpc", "psycopg", "pyarrow"}


def test_optional_libraries_wait_until_they_are_asked_for() -> None:
    """The server and every command are there without the libraries of other stores and buses: they take a second."""
    imported = "import heatfleet.cli, heatfleet.server, json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True, timeout=60)

    assert OPTIONAL.isdisjoint(json.loads(run.stdout))
