"""A whole day of the fleet through the front door, and its report compared with the truth to the watt-hour.

Watches everything at once: batches into `heatfleet serve`, a rollup in a kept process at the end of every simulated
hour, told the simulated time, files that grow for a day, and whether anything was lost or counted twice on the way. The
day is yesterday; as many devices as fit in the time take part, and what two million would take is said openly.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from urllib.request import urlopen

import numpy as np

from benchmarks.day_fleet import DayFleet, Truth
from benchmarks.day_post import Senders
from benchmarks.fleet import MESSAGES_A_DAY
from benchmarks.history import midnight_ms
from benchmarks.kept_rollup import KeptRollup, kept_rollup
from benchmarks.options import Options
from benchmarks.results import Result, Round, Unmeasurable
from benchmarks.servers import Server, heatfleet, running
from benchmarks.store_files import store_bytes
from benchmarks.usage import Usage, peak_mib
from heatfleet.domain.slots import HOUR_MS

FLEET = 2_000_000
PILOT_DEVICES, PILOT_HOURS = 40_000, 2
RESERVE = 1.3
"""A great fleet takes somewhat more a message than the pilot's."""
BYTES_A_MESSAGE = 30
"""On disk at the worst moment: the day's readings, an hour of them in the journal and once more on their way."""
WATCHED = 8
COLUMNS = (
    "hour",
    "messages",
    "messages/s",
    "server CPU, s a million messages",
    "client CPU, s a million",
    "rollup, s",
    "rollup CPU, s a million",
    "store, GiB",
    "bytes a message",
)


def measure(options: Options) -> Result:
    """The day, hour by hour; ``Unmeasurable`` if its report is not the truth."""
    hours = min(24, options.hours, 3 if options.quick else 24)
    devices = options.size(options.devices, FLEET, 2_000)
    notes = []
    if not options.quick:
        per_message_s = _pilot()
        fits = round(options.minutes * 60 / (per_message_s * RESERVE * MESSAGES_A_DAY * hours / 24), -3)
        room = shutil.disk_usage(gettempdir()).free / (BYTES_A_MESSAGE * MESSAGES_A_DAY * hours / 24)
        if devices > min(fits, room):
            devices = max(1_000, int(min(fits, room)))
            why = "in the time" if fits < room else "on the disk"
            notes.append(f"{devices:,} devices fit {why} ({options.minutes:g} minutes); `--devices` says how many.")
    began_s = time.monotonic()
    rounds, memory_mib = _day(devices, hours)
    return Result(
        title=f"day: {hours} hours of {devices:,} devices, {sum(int(one['messages']) for one in rounds):,} messages",
        columns=COLUMNS,
        rows=[_row(f"{number:02}:00", [one]) for number, one in enumerate(rounds)] + [_row("all", rounds)],
        rounds={"hours": rounds},
        notes=[
            f"The report is the truth to the watt-hour, in each hour, for the fleet and for {WATCHED} of its devices.",
            *notes,
            (
                f"Took {(time.monotonic() - began_s) / 60:.0f} minutes; server at most {memory_mib:.0f} MiB, rollup"
                f" {max(one['rollup_peak_mib'] for one in rounds):.0f} MiB."
            ),
            _extrapolated(rounds, devices * hours / 24),
        ],
    )


def _pilot() -> float:
    """Seconds a message takes here, from posting to figures."""
    rounds, _ = _day(PILOT_DEVICES, PILOT_HOURS)
    return sum(one["seconds"] + one["rollup_s"] for one in rounds) / sum(one["messages"] for one in rounds)


def _day(devices: int, hours: int) -> tuple[list[Round], float]:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    start_ms = midnight_ms(yesterday)
    fleet = DayFleet(devices, start_ms)
    truth = Truth(devices, start_ms, np.linspace(0, devices - 1, WATCHED).astype(np.int64))
    rounds: list[Round] = []
    with TemporaryDirectory(prefix="heatfleet-bench-") as name:
        folder = Path(name)
        with running(heatfleet(), folder) as server, kept_rollup(folder) as rollup:
            for number in range(hours):
                one = _hour(server, rollup, fleet, truth, number)
                so_far = sum(earlier["messages"] for earlier in rounds) + one["messages"]
                rounds.append({**one, "messages_so_far": so_far})
                line = (
                    f"day: {devices:,} devices, hour {number + 1} of {hours}: {one['messages'] / one['seconds']:,.0f}"
                    f" messages/s, rollup {one['rollup_s']:.1f} s"
                )
                print(line, file=sys.stderr, flush=True)
            _compare(server, f"from={yesterday}&to={yesterday + timedelta(days=1)}", truth.fleet_mj)
            for place, device in enumerate(truth.watched.tolist()):
                asked = f"from={yesterday}&to={yesterday + timedelta(days=1)}&device_id={fleet.fleet.name(device)}"
                _compare(server, asked, [hour_mj[place] for hour_mj in truth.watched_mj])
            return rounds, peak_mib(server.pid)


def _hour(server: Server, rollup: KeptRollup, fleet: DayFleet, truth: Truth, number: int) -> Round:
    before, own_s, messages = Usage.of(server.pid), time.process_time(), 0
    with Senders(server.port, fleet.fleet) as senders:
        for said in fleet.hour(number):
            truth.hear(said)
            senders.send(said)
            messages += said.device.size
    used, own_s = Usage.of(server.pid).since(before), time.process_time() - own_s
    now_ms = fleet.start_ms + (number + 1) * HOUR_MS
    truth.end_hour(now_ms)
    done = rollup.up_to(now_ms)
    if (done["readings"], done["as_of_ms"]) != (messages, now_ms):
        raise Unmeasurable(f"{messages:,} messages were sent up to {now_ms}, and the rollup said {done}")
    return {
        "messages": messages,
        "seconds": used.clock_s,
        "server_us": (used.process_s + used.children_s) / messages * 1e6,
        "client_us": own_s / messages * 1e6,
        "rollup_s": done["seconds"],
        "rollup_cpu_s": done["cpu_s"],
        "rollup_peak_mib": done["peak_mib"],
        "store_bytes": store_bytes(server.folder),
    }


def _compare(server: Server, asked: str, truth_mj: Sequence[int | None]) -> None:
    """Each hour, rounded once and half to even."""
    with urlopen(f"http://127.0.0.1:{server.port}/report?tz=UTC&{asked}", timeout=600) as answer:
        (reported,) = json.loads(answer.read()).values()
    expected = {
        f"{hour:02}:00": round(Fraction(energy_mj, 3_600_000))
        for hour, energy_mj in enumerate(truth_mj)
        if energy_mj is not None
    }
    if reported != expected:
        wrong = {
            hour: (reported.get(hour), expected.get(hour))
            for hour in sorted(reported.keys() | expected.keys())
            if reported.get(hour) != expected.get(hour)
        }
        raise Unmeasurable(f"the report of {asked} is not the truth; (reported, true) Wh by hour: {wrong}")


def _extrapolated(rounds: Sequence[Round], device_days: float) -> str:
    """What a day of two million devices would take at the same cost a message."""
    per_device_s = {
        "the server": sum(one["server_us"] * one["messages"] for one in rounds) / 1e6 / device_days,
        "the rollup": sum(one["rollup_cpu_s"] for one in rounds) / device_days,
    }
    costs = ", ".join(f"{name} {seconds * FLEET:,.0f} s of CPU" for name, seconds in per_device_s.items())
    share = sum(per_device_s.values()) * FLEET / 86_400
    stored_gib = rounds[-1]["store_bytes"] / device_days * FLEET / 2**30
    return (
        f"A day of {FLEET:,} devices, at the same cost a message: {costs}, together {share:.0%} of one core"
        f" around the clock; {stored_gib:.0f} GiB."
    )


def _row(name: str, rounds: Sequence[Round]) -> list[str]:
    messages = sum(one["messages"] for one in rounds)

    def mean(what: str) -> float:
        return sum(one[what] * one["messages"] for one in rounds) / messages

    return [
        name,
        f"{messages:,.0f}",
        f"{messages / sum(one['seconds'] for one in rounds):,.0f}",
        f"{mean('server_us'):.2f}",
        f"{mean('client_us'):.2f}",
        f"{sum(one['rollup_s'] for one in rounds):,.1f}",
        f"{sum(one['rollup_cpu_s'] for one in rounds) / messages * 1e6:.2f}",
        f"{rounds[-1]['store_bytes'] / 2**30:.2f}",
        f"{rounds[-1]['store_bytes'] / rounds[-1]['messages_so_far']:.1f}",
    ]
