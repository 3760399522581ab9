"""Commands that talk to a server: report, send, simulate and doctor, against the real one."""

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from heatfleet.cli.exits import ExitCode
from tests.cli.conftest import Run
from tests.serving import SEED_MESSAGE, RunningServer, clean_environment, message

SEED_DEVICE = "bfadafebb608a154206aqu"
AN_HOUR = ("--from", "2026-01-05T08:00", "--to", "2026-01-05T09:00")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that has heard the original's example and a heater that is silent since."""
    server = RunningServer(tmp_path_factory.mktemp("seeded"))
    server.post(SEED_MESSAGE)
    told = {"code": "temp_interior", "time": 1_732_631_573_782, "value": 19.5}
    server.post(message("d2", told))
    server.rollup()
    yield server
    server.close()


def test_report_as_lines(seeded: RunningServer, run: Run) -> None:
    """In a pipe each cell is a line of columns."""
    shown = run("report", "--url", seeded.base_url)
    head, *lines = [line.split() for line in shown.out.splitlines()]

    assert head == ["day", "time", "energy_wh", "temperature_c", "coverage", "devices", "final"]
    assert [line[:3] for line in lines] == [["2024-11-26", "14:00", "1129"], ["2024-11-26", "15:00", "1371"]]
    assert shown.err == ""


def test_report_as_json_is_that_of_the_server(seeded: RunningServer, run: Run) -> None:
    """Key for key; with --detail in full."""
    plain = json.loads(run("report", "--json", "--tz", "Europe/Paris", "--url", seeded.base_url).out)
    full = json.loads(run("report", "--json", "--detail", "--interval", "day", "--url", seeded.base_url).out)

    assert plain == {"2024-11-26": {"15:00": 1129, "16:00": 1371}}
    assert full["2024-11-26"]["energy_wh"] == 2500


def test_report_as_csv(seeded: RunningServer, run: Run) -> None:
    """As the server writes it."""
    shown = run("report", "--csv", "--device-id", SEED_DEVICE, "--url", seeded.base_url)
    rows = list(csv.DictReader(io.StringIO(shown.out)))

    assert [row["energy_wh"] for row in rows] == ["1129", "1371"]


def test_report_drawn_on_a_terminal(seeded: RunningServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a person looks, it is a picture."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = run("report", "--url", seeded.base_url, NO_COLOR="1").out

    assert "Energy by hour · whole fleet · UTC" in shown.splitlines()[0]
    assert "Tue 26 Nov" in shown
    assert "2.50 kWh" in shown
    assert "█" in shown
    assert "\x1b[3" not in shown


def test_report_takes_its_zone_from_the_settings(seeded: RunningServer, run: Run) -> None:
    """HEATFLEET_TZ means the same for the command as for the server."""
    shown = run("report", "--json", "--url", seeded.base_url, HEATFLEET_TZ="Asia/Kolkata")

    assert list(json.loads(shown.out)["2024-11-26"]) == ["20:00", "21:00"]


def test_report_of_nothing(seeded: RunningServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty picture is explained."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = run("report", "--device-id", "nobody", "--url", seeded.base_url)

    assert (shown.code, shown.out) == (0, "")
    assert "nothing is known in this range" in shown.err


def test_report_of_nothing_in_a_pipe(seeded: RunningServer, run: Run) -> None:
    """An id with a slip is told there too, beside the data."""
    lines, document = (
        run("report", "--device-id", "nobody", *how, "--url", seeded.base_url) for how in ([], ["--json"])
    )

    assert (len(lines.out.splitlines()), json.loads(document.out)) == (1, {})
    assert all("nothing is known in this range" in shown.err for shown in (lines, document))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--tz", "Mars"], "tz"),
        (["--from", "yesterday"], "from"),
        (["--from", "2024-11-27", "--to", "2024-11-26"], "to"),
        (["--device-id", "a b"], "device_id"),
        (["--csv", "--tz", "Mars"], "tz"),
        (["--csv", "--json"], "--csv"),
        (["--interval", "week"], "--interval"),
    ],
)
def test_report_option_without_meaning(arguments: list[str], named: str, seeded: RunningServer, run: Run) -> None:
    """It is a usage error that names the option, whether this command or the server finds it."""
    refused = run("report", *arguments, "--url", seeded.base_url)

    assert (refused.code, refused.out) == (ExitCode.USAGE, "")
    assert named in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("words", [("report",), ("report", "--csv"), ("send", "d1", "on"), ("simulate",)])
def test_no_server(words: tuple[str, ...], run: Run) -> None:
    """The error says how to start one, and that trying again later makes sense."""
    refused = run(*words, "--url", "http://127.0.0.1:9")

    assert (refused.code, refused.out) == (ExitCode.TRY_AGAIN, "")
    assert "no server answers at http://127.0.0.1:9; " in refused.err
    assert "start it with `make run` or `heatfleet serve`" in refused.err


@pytest.mark.parametrize("words", [("report",), ("send", "d1", "on"), ("simulate",)])
def test_address_that_is_not_the_root(words: tuple[str, ...], seeded: RunningServer, run: Run) -> None:
    """A path too many is told as what it is."""
    refused = run(*words, "--url", f"{seeded.base_url}/api")

    assert (refused.code, refused.out) == (ExitCode.NOT_FOUND, "")
    assert "--url is the root of its server, such as http://127.0.0.1:8000" in refused.err


def test_send_tells_what_became_of_the_order(seeded: RunningServer, run: Run) -> None:
    """The state, and where to ask for it again."""
    sent = run("send", SEED_DEVICE, "off", "--url", seeded.base_url)

    assert sent.code == 0
    assert sent.out.startswith(f"{SEED_DEVICE} off: published (/commands/")


def test_send_as_json_with_a_key(seeded: RunningServer, run: Run) -> None:
    """The same key sends the same order once; for another order it is refused."""
    arguments = ["--json", "--idempotency-key", "evening-7", "--url", seeded.base_url]
    first = json.loads(run("send", "d7", "on", *arguments).out)
    again = json.loads(run("send", "d7", "on", *arguments).out)
    other = run("send", "d7", "off", *arguments)

    assert (first["device_id"], first["switch"], first["state"]) == ("d7", True, "published")
    assert again["location"] == first["location"]
    assert other.code == ExitCode.USAGE
    assert "Idempotency-Key" in other.err


def test_send_to_something_that_is_no_device(seeded: RunningServer, run: Run) -> None:
    """An id that cannot be one, or a word that is neither on nor off."""
    assert run("send", "a b", "on", "--url", seeded.base_url).code == ExitCode.USAGE
    assert run("send", "d1", "perhaps", "--url", seeded.base_url).code == ExitCode.USAGE


def test_doctor_finds_all_well(seeded: RunningServer, run: Run) -> None:
    """With a server that runs and figures that are fresh."""
    shown = run("doctor", "--json", "--url", seeded.base_url, HEATFLEET_STORE=seeded.store_url)
    states = {check["name"]: check["state"] for check in json.loads(shown.out)}

    assert shown.code == 0
    assert states == dict.fromkeys(
        ("python", "sqlite", "settings", "folder", "disk", "store", "keys", "rollup", "clock", "server"), "ok"
    )


def test_simulated_history_is_reported_to_the_watt_hour(start_server: Callable[..., RunningServer], run: Run) -> None:
    """--verify compares every hour, with all faults on."""
    server = start_server()
    six_hours = ["--from", "2026-01-05", "--to", "2026-01-05T06:00"]
    arguments = ["--devices", 5, *six_hours, "--faults", "--url", server.base_url]
    with_rollup = subprocess.Popen(
        [sys.executable, "-m", "heatfleet", "rollup", "--every", "0.2", "--store", server.store_url],
        env=clean_environment(),
    )
    with with_rollup:
        verified = run("simulate", *arguments, "--verify")
        with_rollup.terminate()
    again = json.loads(run("simulate", *arguments, "--json").out)

    assert verified.code == 0, verified
    assert "The report is exact: all 6 hours" in verified.out
    assert "is the rounding to whole Wh)" in verified.out
    assert "finishing · 100%" in verified.err
    assert again["refused"] == 0


def test_simulation_that_reports_something_else_fails(start_server: Callable[..., RunningServer], run: Run) -> None:
    """A report that counts more than was simulated now is not what can be known, and the exit code says so."""
    server = start_server()
    run("simulate", "--devices", 3, *AN_HOUR, "--url", server.base_url)
    server.rollup()
    verified = run("simulate", "--devices", 1, *AN_HOUR, "--url", server.base_url, "--verify", "--settle", 0)

    assert verified.code == ExitCode.FAILURE
    assert "comparing with the report, for up to 0 s" in verified.err
    assert "The report is wrong in 1 of 1 hours" in verified.out
    assert "or the server holds other readings; worst is " in verified.out


def test_verify_wants_a_server_without_other_heaters(start_server: Callable[..., RunningServer], run: Run) -> None:
    """It is refused at once, before anything is posted, with what to do."""
    server = start_server()
    server.post(message("d1", {"code": "instant_power", "time": 1_767_600_000_000, "value": 99_999}))
    server.rollup()
    refused = run("simulate", "--devices", 1, *AN_HOUR, "--url", server.base_url, "--verify")
    server.rollup()

    assert (refused.code, refused.out) == (ExitCode.FAILURE, "")
    assert "the server holds readings of other heaters in this time" in refused.err
    assert "--store sqlite:///var/verify.db" in refused.err
    assert ["d1"] == [device["device_id"] for device in server.client.get("/devices").json()["devices"]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--verify"], "--to"),
        (["--from", "soon"], "--from"),
        (["--from", "2999-01-01"], "--from"),
        (["--to", "1999-01-01"], "end"),
        (["--speed", "fast"], "--speed"),
        (["--speed", "0"], "speed"),
        (["--silence", "2"], "--silence"),
        (["--devices", "0"], "--devices"),
    ],
)
def test_simulation_that_makes_no_sense(arguments: list[str], named: str, run: Run) -> None:
    """The option is named before anything is posted."""
    refused = run("simulate", *arguments, "--url", "http://127.0.0.1:9")

    assert (refused.code, refused.out) == (ExitCode.USAGE, "")
    assert named in refused.err


def test_interrupted_simulation_delivers_what_is_under_way(seeded: RunningServer, run: Run) -> None:
    """Ctrl-C before the end is exit code 130; without an end it is the usual way to stop, and 0."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    command = [sys.executable, "-m", "heatfleet", "simulate", "--devices", "2", "--url", seeded.base_url]
    codes = []
    for more in (["--from", today, "--to", "2099-01-01", "--speed", "1"], ["--from", "now"]):
        with subprocess.Popen([*command, *more], env=clean_environment(), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            assert process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
            codes.append(process.returncode)
            assert "Traceback" not in said

    assert codes == [ExitCode.INTERRUPTED, ExitCode.OK]
