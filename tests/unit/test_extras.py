"""What is optional costs nobody anything who does not ask for it."""

import json
import subprocess
import sys

import pytest

OPTIONAL = {"google", "grpc", "psycopg", "pyarrow"}


def test_optional_libraries_wait_until_they_are_asked_for() -> None:
    """The server and every command are there without the libraries of other stores and buses: they take a second."""
    imported = (
        "import heatfleet.cli, heatfleet.consumer, heatfleet.server, json, sys; print(json.dumps(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True, timeout=60)

    assert OPTIONAL.isdisjoint(json.loads(run.stdout))


@pytest.mark.parametrize(
    "opening",
    [
        "open_subscription('readings', bus='pubsub://my-project/send_command')",
        "open_push_tokens(audience='https://heatfleet.example', account='push@example.com')",
    ],
)
def test_what_is_missing_is_named(opening: str) -> None:
    """Who asks for readings from Pub/Sub without its libraries is told which extra to install."""
    without = (
        "import sys; sys.modules['google'] = None\n"
        "from heatfleet.errors import SetupError\n"
        "from heatfleet.messaging import open_push_tokens, open_subscription\n"
        f"try:\n    {opening}\nexcept SetupError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True, timeout=60)

    assert 'pip install "heatfleet[google]"' in run.stdout
