"""A benchmark's result: the table people read, the rounds behind it, and the files both are kept in."""

import json
import math
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).with_name("results")
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: written by `make bench ARGS=--write` -->", "<!-- end of results -->"

ORDER = (
    "single",
    "batch",
    "bigquery-single",
    "bigquery-batch",
    "rollup",
    "report",
    "start",
    "growth",
    "publish",
    "peers-single",
    "peers-batch",
    "peers-mixed",
    "day",
)
_LEAF = re.compile(r"[\[{][^\[\]{}]*[\]}]")

Round = Mapping[str, float]


class Unmeasurable(Exception):
    """Something that a benchmark needs is missing, or a server did not do its work; the message says what to do."""


def _machine() -> str:
    """This machine in a few words."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = info.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} x {processor}, {memory_gib:.0f} GiB, {platform.system()} {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}, load average {load:.1f} at the end"
    )


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's table; ``rounds`` are the single measurements behind each of its rows, by the row's name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    rounds: Mapping[str, Sequence[Round]]
    notes: Sequence[str] = ()
    measured_at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%MZ}")
    machine: str = field(default_factory=_machine)

    def markdown(self) -> str:
        """As a section of the README; reads well on a terminal too."""
        lines = [self.columns, ["-" * 3 for _ in self.columns], *self.rows]
        widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(self.columns))]
        lines[1] = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        table = [
            "| "
            + " | ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            + " |"
            for line in lines
        ]
        notes = [f"- {note}" for note in self.notes]
        head = [f"### {self.title}", "", f"{self.measured_at}, {self.machine}.", ""]
        return "\n".join([*head, *table, *([""] if notes else []), *notes, ""])


def median(rounds: Sequence[Round], name: str) -> float:
    """The median of one figure over all rounds."""
    return statistics.median(one[name] for one in rounds)


def spread(rounds: Sequence[Round], name: str, form: str = ",.0f") -> str:
    """The median and, when there is more than one round, the least and the greatest."""
    values = [one[name] for one in rounds]
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} – {max(values):{form}})"


def goal(what: str, value: float, *, at_least: float = -math.inf, at_most: float = math.inf, form: str = ".2f") -> str:
    """One line of the notes: what was hoped for, and what came."""
    hoped = f"≥ {at_least:g}" if at_least > -math.inf else f"≤ {at_most:g}"
    met = at_least <= value <= at_most
    return f"Goal: {what} {hoped}: {value:{form}}, {'met' if met else '**missed**'}."


def ratio(rounds: Sequence[Round], others: Sequence[Round], name: str = "messages_per_s") -> float:
    """The median of the ratios within each round."""
    pairs = zip(rounds, others, strict=True)
    return statistics.median(one[name] / (other[name] or math.nan) for one, other in pairs)


def others_note(rounds: Mapping[str, Sequence[Round]]) -> str:
    """How much other work disturbed the measurements."""
    cores = [one["others_cores"] for of_row in rounds.values() for one in of_row if "others_cores" in one]
    return f"Other work on the machine took {statistics.median(cores):.2f} cores (median), {max(cores):.2f} at most."


def save(results: Mapping[str, Result]) -> Path:
    """Put results into the file of the day, over those of the same name, and the newest of each into the README."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{datetime.now(UTC):%Y-%m-%d}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept |= {name: asdict(result) for name, result in results.items()}
    kept = json.loads(json.dumps(kept), parse_float=lambda digits: float(f"{float(digits):.5g}"))
    text = json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False)
    # Whatever holds no other list or object gets one line: a round, a row of the table.
    path.write_text(_LEAF.sub(lambda leaf: " ".join(leaf[0].split()), text) + "\n", encoding="utf-8")
    newest: dict[str, Result] = {}
    for file in sorted(FOLDER.glob("*.json")):
        newest |= {name: Result(**one) for name, one in json.loads(file.read_text(encoding="utf-8")).items()}
    from benchmarks.plots import draw  # noqa: PLC0415  # a plotting library is needed only here

    pictures = draw(newest, FOLDER)
    sections = "\n".join([*pictures, *(newest[name].markdown() for name in sorted(newest, key=ORDER.index))])
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{sections}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return path
