"""The results as pictures: small SVG files with text as text, the same bytes for the same results.

They lie on GitHub's white and on its black alike: nothing is filled but the bars, and every colour is a middle one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.results import Result, Round, median

INK, FAINT = "#737c86", "#8c959f55"
OURS, THEIRS, SECOND = "#e8590c", "#8c959f", "#1c7ed6"
FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
WIDTH_IN, FOOT_IN = 8.6, 0.28
STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "heatfleet",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.left": False,
    "xtick.bottom": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
}
Results = Mapping[str, Result]
Drawing = Callable[[Results], Figure | None]


def draw(results: Results, folder: Path) -> list[str]:
    """Write the pictures that these results allow; gives them as lines of Markdown."""
    lines = []
    with mpl.rc_context():
        parameters: Any = mpl.rcParams
        parameters.update(STYLE)
        for name, (title, drawing) in DRAWINGS.items():
            figure = drawing(results)
            if figure is not None:
                (folder / f"{name}.svg").write_text(_svg(figure), encoding="utf-8")
                lines.append(f"![{title}]({folder.name}/{name}.svg)\n")
    return lines


def _throughput(results: Results) -> Figure | None:
    return _beside_peers(results, "messages a second", "messages_per_s", 1e-3, "{:,.0f} k")


def _cpu(results: Results) -> Figure | None:
    return _beside_peers(results, "server CPU, seconds a million messages", "server_us", 1, "{:,.1f}")


def _beside_peers(results: Results, what: str, figure_name: str, scale: float, form: str) -> Figure | None:
    pairs = [("one message a POST", "single"), ("10,000 a POST", "batch")]
    shown = [
        (label, results.get(f"peers-{name}") or results.get(name))
        for label, name in pairs
        if f"peers-{name}" in results or name in results
    ]
    found = [(label, result) for label, result in shown if result is not None]
    if not found:
        return None
    figure, axes = _panels(len(found), [len(result.rounds) for _, result in found], [result for _, result in found])
    for one, (label, result) in zip(axes, found, strict=True):
        values = {name: median(rounds, figure_name) * scale for name, rounds in result.rounds.items()}
        _bars(one, values, form)
        one.set_title(f"{label}: {what}")
    return figure


def _latency(results: Results) -> Figure | None:
    pairs = [("one message a POST", "peers-single", "single"), ("singles beside batches", "peers-mixed", "")]
    found = [
        (label, results[name])
        for label, *names in pairs
        for name in [next((n for n in names if n in results), "")]
        if name
    ]
    if not found:
        return None
    figure, axes = _panels(len(found), [len(result.rounds) for _, result in found], [result for _, result in found])
    for one, (label, result) in zip(axes, found, strict=True):
        names = list(result.rounds)
        p50, p99 = ([median(result.rounds[name], wait) for name in names] for wait in ("p50_ms", "p99_ms"))
        one.set_xscale("log")
        one.hlines(range(len(names)), p50, p99, color=[_colour(name) for name in names], linewidth=3, alpha=0.5)
        for waits, marker in ((p50, "o"), (p99, "D")):
            one.scatter(
                waits, range(len(names)), color=[_colour(name) for name in names], marker=marker, s=34, zorder=3
            )
        for place, (low, high) in enumerate(zip(p50, p99, strict=True)):
            one.annotate(f"{low:,.1f}", (low, place), (-7, 0), textcoords="offset points", ha="right", va="center")
            one.annotate(f"{high:,.1f}", (high, place), (7, 0), textcoords="offset points", va="center")
        one.set_xlim(min(p50) / 3, max(p99) * 3)
        _named(one, names)
        one.grid(visible=True, axis="x")
        one.xaxis.set_major_formatter("{x:g}")
        one.minorticks_off()
        one.set_title(f"{label}: half (●) and 99 % (◆) of answers within, ms")
    return figure


def _rollup(results: Results) -> Figure | None:
    result = results.get("rollup")
    if result is None:
        return None
    steps = {"hour": "a full hour", "rebuild": "rebuild", "minute": "a usual minute"}
    cost = {
        label: median(result.rounds[step], "cpu_s") / median(result.rounds[step], "readings") * 1e6
        for step, label in steps.items()
        if step in result.rounds
    }
    beside = {"alone": "no rollup", "hour": "a full hour", "late": "late readings", "rebuild": "rebuild"}
    waits = {
        label: median(result.rounds[step], "post_p99_ms") for step, label in beside.items() if step in result.rounds
    }
    figure, axes = _panels(2, [len(cost), len(waits)], [result])
    _bars(axes[0], cost, "{:,.2f}", SECOND)
    axes[0].set_title(f"{result.title}: CPU, seconds a million readings")
    _bars(axes[1], waits, "{:,.1f}", SECOND)
    axes[1].set_title("99 % of POSTs answered within, ms, beside …")
    return figure


def _day(results: Results) -> Figure | None:
    result = results.get("day")
    if result is None:
        return None
    hours: Sequence[Round] = result.rounds["hours"]
    figure, axes = _panels(2, [4, 4], [result])
    shown = [
        ("messages a second, thousands", [one["messages"] / one["seconds"] / 1e3 for one in hours], OURS),
        ("rollup at the end of the hour, seconds", [one["rollup_s"] for one in hours], SECOND),
    ]
    for one, (title, values, colour) in zip(axes, shown, strict=True):
        one.bar(range(len(values)), values, color=colour, width=0.7)
        one.grid(visible=True, axis="y")
        one.set_axisbelow(True)
        one.set_xticks(range(0, len(values), 3), [f"{hour:02}:00" for hour in range(0, len(values), 3)])
        one.set_title(title)
    axes[0].set_title(f"{result.title}\n{shown[0][0]}")
    return figure


def _panels(count: int, rows: Sequence[int], results: Sequence[Result]) -> tuple[Figure, list[Axes]]:
    """So many diagrams below each other, as high as their rows need, with machine and date at the foot."""
    height_in = sum(0.34 * number + 0.55 for number in rows) + FOOT_IN
    foot = FOOT_IN / height_in
    layout = ConstrainedLayoutEngine(rect=(0, foot, 1, 1 - foot), hspace=0.08)
    figure = Figure(figsize=(WIDTH_IN, height_in), layout=layout)
    axes = figure.subplots(count, 1, squeeze=False, height_ratios=[number + 0.6 for number in rows])
    newest = max(results, key=lambda result: result.measured_at)
    machine = newest.machine.partition(", load average")[0]
    figure.text(0.995, 0.005, f"{newest.measured_at}, {machine}", ha="right", va="bottom", fontsize=7)
    return figure, [one for (one,) in axes]


def _bars(axes: Axes, values: Mapping[str, float], form: str, colour: str | None = None) -> None:
    """One bar for each name, its figure at the end."""
    bars = axes.barh(range(len(values)), list(values.values()), height=0.62)
    for bar, name in zip(bars, values, strict=True):
        bar.set_color(colour or _colour(name))
    axes.bar_label(bars, [form.format(value) for value in values.values()], padding=4)
    axes.margins(x=0.12)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    _named(axes, list(values))


def _named(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == "heatfleet" else "normal")


def _colour(name: str) -> str:
    return OURS if name == "heatfleet" else THEIRS


def _svg(figure: Figure) -> str:
    """The picture's text.

    The layout's solver walks its terms by their place in memory, so the last bits of what it finds differ from run to
    run, and the names of clips are hashes of them: round figures are drawn instead.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = axes.get_position().bounds
        axes.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, text.getvalue())


DRAWINGS: Mapping[str, tuple[str, Drawing]] = {
    "throughput": ("Messages a second beside other servers", _throughput),
    "cpu": ("Processor time a message beside other servers", _cpu),
    "latency": ("How long an answer takes beside other servers", _latency),
    "rollup": ("What the rollup takes, and how long devices wait beside it", _rollup),
    "day": ("A day of the fleet by hour", _day),
}
