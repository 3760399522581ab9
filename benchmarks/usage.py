"""What a process and its children take from the machine, as Linux counts it in /proc."""

import os
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

QUIET_CORES = 0.25
"""Others that take more than this disturb a measurement."""
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds: of one process, of its children, of the whole machine; and the time that went by, by the clock."""

    process_s: float
    children_s: float
    machine_s: float
    clock_s: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """As it stands now; children that have ended count, as far as they were waited for."""
        own_s, ended_s = _times_s(pid)
        living_s = sum(sum(_times_s(child)) for child in children(pid))
        return cls(own_s, living_s + ended_s, _machine_s(), time.monotonic())

    def since(self, earlier: Self) -> Self:
        """What was used between two readings."""
        return type(self)(*(getattr(self, one.name) - getattr(earlier, one.name) for one in fields(self)))


def peak_mib(pid: int) -> float:
    """The most memory that a living process and its living children have held, each at its own time."""
    return sum(_memory_mib(one, "VmHWM:") for one in (pid, *children(pid)))


def resident_mib(pid: int) -> float:
    """The memory that a living process holds now, without its children."""
    return _memory_mib(pid, "VmRSS:")


def children(pid: int) -> list[int]:
    """The processes that this one has started and that still run, and theirs."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text(encoding="ascii").split()):
            found += [child, *children(child)]
    return found


def drop_caches() -> bool:
    """Let the kernel forget what it read from disk; only root may, and ``False`` says it did not happen."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError:
        return False
    return True


def wait_for_quiet(patience_s: float) -> None:
    """Wait until the machine has had a quiet second, as long as patience lasts."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        busy_s, began_s = _machine_s(), time.monotonic()
        time.sleep(1)
        if (_machine_s() - busy_s) / (time.monotonic() - began_s) < QUIET_CORES:
            return


def _memory_mib(pid: int, field: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    words = status.partition(field)[2].split()
    return int(words[0]) / 1024 if words else 0.0


def _machine_s() -> float:
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    user, nice, system, _idle, _iowait, *interrupts_and_stolen = map(int, line.split()[1:9])
    return (user + nice + system + sum(interrupts_and_stolen)) * _TICKS_S


def _times_s(pid: int) -> tuple[float, float]:
    """CPU time of a process, and of its children that have ended; nothing for one that is gone."""
    try:
        fields_of_stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    user, system, ended_user, ended_system = map(int, fields_of_stat.split()[11:15])
    return (user + system) * _TICKS_S, (ended_user + ended_system) * _TICKS_S
