"""What to look at and what to type while a demo runs."""

import json
import shlex
import shutil
import sys
import time
from pathlib import Path

from heatfleet.cli.terminal import screen


def show_where_to_look(url: str, *, seed: int) -> None:
    """Print addresses and commands that work as they stand; they speak of a heater of the simulated fleet."""
    from heatfleet.simulator.wire import device_id

    console = screen()
    heater = device_id(seed, 0)
    console.print(f"\nHeatfleet runs at {url}\n", style="bold")
    pages = {
        "/docs": "the API, to try out",
        "/redoc": "the API, to read",
        "/report": "energy by day and hour",
        "/devices": "the heaters",
        "/metrics": "for Prometheus",
    }
    for path, what in pages.items():
        console.print(f"  {url + path:<38} {what}", soft_wrap=True)
    console.print()
    for command, what in {"report": "the hours, drawn", f"send {heater} off": "switch a heater off"}.items():
        console.print(f"  {_heatfleet()} {command} --url {url}    {what}", soft_wrap=True)
    console.print()
    for line in _curls(url, heater):
        console.print(f"  {line}", soft_wrap=True)
    console.print("\nCtrl-C stops it.\n")


def _curls(url: str, heater: str) -> list[str]:
    now_ms = time.time_ns() // 1_000_000
    message = {
        "bizCode": "devicePropertyMessage",
        "bizData": {
            "devId": "my-first-heater",
            "productId": "my-model",
            "properties": [{"code": "instant_power", "time": now_ms, "value": 1500}],
        },
        "ts": now_ms,
    }
    return [
        _curl_post(f"{url}/message", message),
        _curl_post(f"{url}/send", {"device_id": heater, "switch": False}),
        f"curl '{url}/report?tz=Europe/Paris&detail=true'",
        f"curl {url}/devices/{heater}",
    ]


def _curl_post(url: str, body: object) -> str:
    return f"curl {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"


def _heatfleet() -> str:
    """How this very command is typed: it may live in a virtual environment that is not active."""
    ours = Path(sys.argv[0])
    found = shutil.which("heatfleet")
    if ours.name != "heatfleet" or (found and Path(found).samefile(ours)):
        return "heatfleet"
    here = Path.cwd()
    return str(ours.relative_to(here) if ours.is_relative_to(here) else ours)
