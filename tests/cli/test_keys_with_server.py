"""Keys made, rotated and revoked on the command line, beside a server that runs all the while."""

import json
import time

from heatfleet.cli.exits import ExitCode
from tests.cli.conftest import Run
from tests.cli.made_keys import FAR_S, id_of
from tests.serving import RunningServer


def comes_to(server: RunningServer, key: str, status: int) -> None:
    """Wait until the server answers this key so."""
    give_up_s = time.monotonic() + FAR_S
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    while (found := server.client.get("/devices", headers=headers).status_code) != status:
        assert time.monotonic() < give_up_s, f"{found} instead of {status}"
        time.sleep(0.1)


def test_a_running_server_follows(server: RunningServer, run: Run) -> None:
    """It asks for keys once there is one, takes new ones, refuses ended ones, and notes when each was last used."""
    store = {"HEATFLEET_STORE": server.store_url}
    report = ("report", "--url", server.base_url)
    comes_to(server, "", 200)

    first = run("keys", "create", "--scope", "report", "--name", "me", **store).out.strip()
    comes_to(server, "", 401)
    comes_to(server, first, 200)
    assert (run(*report).code, run(*report, HEATFLEET_API_KEY=first).code) == (ExitCode.NOT_ALLOWED, ExitCode.OK)

    second = run("keys", "rotate", id_of(first), "--overlap", "0", **store).out.strip()
    comes_to(server, first, 401)
    comes_to(server, second, 200)

    run("keys", "revoke", id_of(second), **store)
    comes_to(server, second, 401)
    server.stop()
    told = json.loads(run("keys", "list", "--all", "--json", **store).out)
    assert [(key["key_id"], key["used_at_ms"] is not None) for key in told] == [
        (id_of(first), True),
        (id_of(second), True),
    ]
