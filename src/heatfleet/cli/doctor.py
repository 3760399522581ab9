"""``heatfleet doctor``: is everything in place, and if not, what to do."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from heatfleet.cli.connect import Url
from heatfleet.cli.db import is_postgresql, store_path
from heatfleet.cli.exits import ExitCode
from heatfleet.cli.terminal import bytes_text, print_json, screen, utc
from heatfleet.domain.access import ApiKey
from heatfleet.domain.checks import Check
from heatfleet.errors import HeatfleetError, NotAllowed, NotFound, SetupError

if TYPE_CHECKING:
    from heatfleet.config import Settings

_DISK_FAIL_BYTES, _DISK_WARN_BYTES = 100_000_000, 2_000_000_000
_ROLLUP_ELSEWHERE_S = 300
_CLOCK_MIN_MS = 1_764_547_200_000
_CLOCK_BACK_MS = 60_000
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    *,
    url: Url = None,
    subscription: Annotated[
        str | None, typer.Option(help="Look at this subscription of Pub/Sub too, as `heatfleet consume` reads it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of all checks.")] = False,
) -> None:
    """Look at settings, store, disk, clock, bus, keys, server and rights, and say what to do where something is wrong.

    Examples:
    $ heatfleet doctor
    $ heatfleet doctor --url http://127.0.0.1:9000 --json

    Exit code 1 tells that a check failed; warnings do not.
    """
    checks = []
    console = screen()
    for check in _checks(url, subscription):
        checks.append(check)
        if not as_json:
            console.print(f"{check.state:<5}", style=_STYLES[check.state], end="")
            console.print(f"{check.name:<9} {check.found}", soft_wrap=True)
            if check.fix:
                console.print(f"{'':<15}→ {check.fix}", soft_wrap=True)
    if as_json:
        print_json([asdict(check) for check in checks])
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(ExitCode.FAILURE)


def _checks(url: str | None, subscription: str | None) -> Iterator[Check]:
    from heatfleet.client import server_url
    from heatfleet.config import load_settings

    yield Check("python", "ok", sys.version.split()[0])
    yield _sqlite()
    now_ms = time.time_ns() // 1_000_000
    try:
        settings = load_settings()
    except SetupError as error:
        yield Check("settings", "fail", str(error), "mend the variable, or the line in .env")
        return
    yield _understood(settings)
    if folder := _nearest_folder(settings):
        yield _writable(folder)
        yield _disk(folder)
    yield from _store_and_clock(settings, now_ms)
    yield from _database(settings)
    yield from _bus(settings, subscription)
    yield _keys(settings, now_ms)
    yield _server(url or server_url(settings.host, settings.port), settings.api_key)


def _sqlite() -> Check:
    from heatfleet.storage import sqlite_trouble, sqlite_version

    if trouble := sqlite_trouble():
        return Check("sqlite", "fail", trouble, "update apsw, which brings its own SQLite")
    return Check("sqlite", "ok", sqlite_version())


def _understood(settings: "Settings") -> Check:
    """Whether the bus exists too, which only the server opens."""
    from heatfleet.messaging import BUSES, is_pubsub

    if settings.bus in BUSES or is_pubsub(settings.bus):
        return Check("settings", "ok", "all understood; `heatfleet config` shows them")
    return Check("settings", "fail", "HEATFLEET_BUS names no bus", f"these exist: {', '.join(BUSES)}")


def _nearest_folder(settings: "Settings") -> Path | None:
    """The folder of what is kept on this machine, or what exists of the way to it; ``None`` if nothing is."""
    from heatfleet.storage import is_bigquery

    if is_bigquery(settings.store) and is_postgresql(settings):
        return None
    files = _ledger_file(settings).parent if is_bigquery(settings.store) else store_path(settings)
    folder = files.absolute().parent
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _writable(folder: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"heatfleet")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("folder", "fail", f"{folder}: {error.strerror}", "give this user the right to write there")
    return Check("folder", "ok", f"{folder} can be written")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{bytes_text(free)} free"
    if free >= _DISK_WARN_BYTES:
        return Check("disk", "ok", found)
    return Check("disk", "fail" if free < _DISK_FAIL_BYTES else "warn", found, f"free some space near {folder}")


def _store_and_clock(settings: "Settings", now_ms: int) -> Iterator[Check]:
    """The store, how fresh its figures are, and whether the clock fits what it has seen."""
    from heatfleet.storage import is_bigquery, look_at_dataset, open_store

    as_of_ms = 0
    try:
        if is_bigquery(settings.store):
            yield from look_at_dataset(settings.store)
        hold_ms = settings.max_hold_s * 1000
        with closing(open_store(settings.store, hold_ms=hold_ms, writable=False)) as store:
            store.check()
            status = store.status(now_ms)
    except HeatfleetError as error:
        not_made_yet = settings.store.startswith("sqlite:") and not store_path(settings).exists()
        yield Check("store", "warn" if not_made_yet else "fail", str(error))
    else:
        as_of_ms = status.as_of_ms
        yield Check("store", "ok", f"{settings.store}, {status.devices:,} heaters")
        yield _rollup(status.lag_ms, as_of_ms, settings.rollup_every_s)
    if now_ms < max(_CLOCK_MIN_MS, as_of_ms - _CLOCK_BACK_MS):
        yield Check("clock", "fail", f"{utc(now_ms)} is in the past", "set the clock; use NTP")
    else:
        yield Check("clock", "ok", utc(now_ms))


def _rollup(lag_ms: int, as_of_ms: int, every_s: float) -> Check:
    # A server that starts none leaves it to somebody, who comes every few minutes.
    if lag_ms > 3 * (every_s or _ROLLUP_ELSEWHERE_S) * 1000:
        return Check(
            "rollup", "warn", f"readings wait for {lag_ms / 1000:.0f} s", "start the server, or `heatfleet rollup`"
        )
    return Check("rollup", "ok", f"figures up to {utc(as_of_ms)}" if as_of_ms else "nothing to do yet")


def _database(settings: "Settings") -> Iterator[Check]:
    """What keeps orders and keys, where that is not a file beside the store."""
    from heatfleet.storage import check_postgresql

    if is_postgresql(settings):
        try:
            one = check_postgresql(settings.ledger)
        except HeatfleetError as error:
            yield Check("db", "fail", str(error))
        else:
            yield Check("db", "ok" if one.sound else "fail", f"{one.name}: {one.found}", one.fix)
    elif not settings.store.startswith("sqlite:"):
        found = "orders and keys are in a file of this machine, which no other server sees"
        yield Check("db", "warn", found, "several servers need PostgreSQL: set HEATFLEET_DB")


def _bus(settings: "Settings", subscription: str | None) -> Iterator[Check]:
    """The topic of orders, where they go through Pub/Sub, and readings, where they come that way."""
    from heatfleet.messaging import is_pubsub, look_at_bus

    if is_pubsub(settings.bus):
        try:
            yield from look_at_bus(settings.bus, subscription=subscription)
        except HeatfleetError as error:
            yield Check("topic", "fail", str(error))


def _keys(settings: "Settings", now_ms: int) -> Check:
    """Whether those who need a key have one that goes on."""
    from heatfleet.cli.key_words import to_look_after
    from heatfleet.config import is_loopback
    from heatfleet.storage import open_key_ring

    keys: Sequence[ApiKey] = ()
    try:
        if is_postgresql(settings) or _ledger_file(settings).exists():
            with closing(open_key_ring(settings.ledger, writable=False)) as ring:
                keys = ring.keys()
    except HeatfleetError as error:
        return Check("keys", "fail", str(error))
    another = "`heatfleet keys create --scope admin --name you` makes one"
    active = sum(key.state(now_ms) == "active" for key in keys)
    troubles = list(to_look_after(keys, now_ms))
    if not keys and is_loopback(settings.host):
        return Check("keys", "ok", "none made, and none is needed: only this machine reaches the server")
    if not keys:
        return Check("keys", "fail", f"none made, but other machines reach {settings.host}", another)
    if not active:
        return Check("keys", "fail", "all have ended: every request is refused", another)
    if troubles:
        found, fix = troubles[0]
        more = f", and {len(troubles) - 1} more: `heatfleet keys list`" if len(troubles) > 1 else ""
        return Check("keys", "warn", f"{active} active; {found}{more}", fix)
    return Check("keys", "ok", f"{active} active")


def _ledger_file(settings: "Settings") -> Path:
    return Path(f"{urlsplit(settings.ledger).path.removeprefix('/')}.d/ledger.db")


def _server(url: str, api_key: str) -> Check:
    from heatfleet.client import Client

    try:
        with Client(url, api_key=api_key, timeout_s=5) as client:
            client.ready()
            with suppress(NotFound):
                client.device("doctor")
    except NotAllowed as error:
        if error.kind in ("needs-key", "bad-key"):
            return Check("server", "fail", f"{url}: {error}", "set HEATFLEET_API_KEY to a key that is good there")
    except HeatfleetError as error:
        return Check("server", "warn", str(error))
    return Check("server", "ok", f"{url} is ready")
