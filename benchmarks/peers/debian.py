"""Known servers, as Debian packages them: VictoriaMetrics, InfluxDB and nginx, with settings of their own makers.

Each listens on the loopback interface alone and keeps its files in the folder it is given. What differs from the
defaults is here, and why: nothing is turned down, and a limit that the made-up fleet would reach is lifted.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.results import Unmeasurable
from benchmarks.servers import BATCH, Server, Target, free_port
from benchmarks.wrk import Way

PACKAGES = {"victoria-metrics": "victoria-metrics", "influxd": "influxdb", "nginx": "nginx-light", "wrk": "wrk"}

# Debian starts what it installs, on ports that all can reach; a policy keeps it from that, as in a container.
_INSTALL = """
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
    trap "rm -f $policy" EXIT
fi
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$@"
"""

_NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    client_max_body_size 16m;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{{"status":"ok","inserted":1}}'; }}
    }}
}}
"""

# wal-fsync-delay of 0 is the default: each write is synced before its answer. inmem is the default index.
_INFLUX = """
reporting-disabled = true
bind-address = "127.0.0.1:{backup_port}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
wal-fsync-delay = "0s"
max-series-per-database = 0
max-values-per-tag = 0
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[ifql]
enabled = false
"""


def install() -> None:
    """Install what is missing with apt-get, as root or through sudo."""
    missing = [package for program, package in PACKAGES.items() if _found(program) is None]
    if not missing:
        return
    print(f"installing with apt-get: {', '.join(missing)}", file=sys.stderr, flush=True)
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    try:
        subprocess.run([*as_root, "sh", "-c", _INSTALL, "install", *missing], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unmeasurable(f"the peers are Debian packages, and apt-get could not install them: {error}") from error


def versions(*programs: str) -> str:
    """What is measured, as the package manager knows it."""
    names = [PACKAGES[program] for program in programs]
    found = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${Version}, ", *names],
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.removesuffix(", ")


def victoria_metrics() -> Target:
    """One sample a POST, or 10,000. It answers before the disk has them: they are flushed after up to 5 s."""
    return Target(
        name="VictoriaMetrics",
        command=_victoria_metrics,
        ready_path="/health",
        single=Way("/api/v1/import", "vm", 1),
        batch=Way("/api/v1/import", "vm", BATCH),
        kept=_kept_by_victoria_metrics,
    )


def influxdb() -> Target:
    """One point a POST, or 10,000, each request synced before its answer."""
    path = "/write?db=heatfleet&precision=ms"
    return Target(
        name="InfluxDB",
        command=_influxdb,
        ready_path="/ping",
        single=Way(path, "line", 1),
        batch=Way(path, "line", BATCH),
        kept=_kept_by_influxdb,
        prepare=_make_database,
    )


def nginx() -> Target:
    """A constant answer from one worker process: how fast HTTP can be when nothing is done."""
    return Target("nginx", _nginx, "/", Way("/", "json", 1), batch=None, kept=None)


def _victoria_metrics(folder: Path, port: int) -> Sequence[str]:
    store = f"-storageDataPath={folder / 'victoria-metrics'}"
    return (_there("victoria-metrics"), store, f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=12")


def _influxdb(folder: Path, port: int) -> Sequence[str]:
    config = folder / "influxdb.conf"
    config.write_text(_INFLUX.format(folder=folder, port=port, backup_port=free_port()), encoding="utf-8")
    return (_there("influxd"), "run", "-config", str(config))


def _nginx(folder: Path, port: int) -> Sequence[str]:
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(port=port), encoding="utf-8")
    return (_there("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config))


def _make_database(server: Server) -> None:
    _ask(server, "/query?q=CREATE+DATABASE+heatfleet", b"")


def _kept_by_victoria_metrics(server: Server) -> int:
    """What it counts as stored, once that grows no more: it goes on storing after its answers."""
    kept, before = 0, -1
    while kept != before:
        before = kept
        _ask(server, "/internal/force_flush")
        time.sleep(1)
        rows = re.findall(r'^vm_rows\{type="storage/\w+"\} (\d+)', _ask(server, "/metrics"), re.MULTILINE)
        kept = sum(map(int, rows))
    return kept


def _kept_by_influxdb(server: Server) -> int:
    answer = _ask(server, "/query?db=heatfleet&q=SELECT+count(value)+FROM+instant_power")
    found = re.search(r"\[\[[^\],]*,(\d+)\]\]", answer)
    return int(found[1]) if found else 0


def _ask(server: Server, path: str, body: bytes | None = None) -> str:
    with urlopen(Request(f"http://127.0.0.1:{server.port}{path}", body), timeout=60) as answer:
        return str(answer.read(), "utf-8")


def _found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _there(program: str) -> str:
    found = _found(program)
    if found is None:
        raise Unmeasurable(f"{program} is missing: `make bench-peers` installs Debian's package {PACKAGES[program]}")
    return found
