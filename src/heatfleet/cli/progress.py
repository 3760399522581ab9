"""A simulation's progress on stderr: a bar that moves on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from heatfleet.cli.terminal import margin, utc

if TYPE_CHECKING:
    from heatfleet.simulator import Progress

_PICTURE_EVERY_S = 0.1
_LINE_EVERY_S = 10.0
_BAR_WIDTH, _BAR_WIDTH_MIN = 24, 8


class ProgressView:
    """Shows each ``Progress`` it is called with; a ``with`` block around the run keeps the terminal in order.

    ``start_ms`` is where the simulation begins, ms since the epoch. ``aside`` may add words to a live line.
    """

    def __init__(self, start_ms: int, *, aside: Callable[[], str] = str) -> None:
        self._start_ms, self._aside = start_ms, aside
        self._console = margin()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._phase = ""
        self._shown_s = 0.0
        self._last: Progress | None = None
        self._shown: Progress | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._last and self._last != self._shown:
            self._show(self._last)
        if self._live:
            self._live.stop()

    def __call__(self, progress: "Progress") -> None:
        """Show it, unless something like it was shown a moment ago."""
        self._last = progress
        now_s = time.monotonic()
        every_s = _PICTURE_EVERY_S if self._live else _LINE_EVERY_S
        if progress.phase == self._phase and now_s - self._shown_s < every_s:
            return
        self._phase, self._shown_s = progress.phase, now_s
        self._show(progress)

    def _show(self, progress: "Progress") -> None:
        self._shown = progress
        if self._live:
            self._live.update(self._picture(progress), refresh=True)
        else:
            self._console.print(self._words(progress), soft_wrap=True)

    def _picture(self, progress: "Progress") -> Text | Table:
        """One line, whatever the window: first the bar gives way, then the words that come last."""
        share, words = self._share(progress), self._words(progress)
        words.no_wrap, words.overflow = True, "ellipsis"
        width = min(_BAR_WIDTH, self._console.width - len(words) - 2)
        if share is None or width < _BAR_WIDTH_MIN:
            return words
        line = Table.grid(padding=(0, 2))
        line.add_row(ProgressBar(total=1.0, completed=share, width=width), words)
        return line

    def _words(self, progress: "Progress") -> Text:
        share = self._share(progress)
        words = Text(progress.phase)
        if share is not None:
            words.append(f" · {share:.0%}")
        if progress.note:
            words.append(f" · {progress.note}", "yellow")
        parts = [f"{progress.refused:,} refused" if progress.refused else ""]
        parts += [_time_left(progress, share) if share is not None else "", f"{progress.messages:,} messages"]
        parts += [f"{progress.rate_per_s:,.0f} a second" if share is not None else ""]
        parts += [self._aside() if progress.phase == "live" else "", utc(progress.simulated_ms)]
        return words.append("".join(f" · {part}" for part in parts if part))

    def _share(self, progress: "Progress") -> float | None:
        """How much of the way is done: to the end, or without one to the wall clock; ``None`` once live."""
        if progress.share is not None or progress.phase != "history":
            return progress.share
        whole_ms = max(1, time.time_ns() // 1_000_000 - self._start_ms)
        return min(1.0, (progress.simulated_ms - self._start_ms) / whole_ms)


def _time_left(progress: "Progress", share: float) -> str:
    if share in (0, 1) or not progress.rate_per_s:
        return ""
    elapsed_s = progress.messages / progress.rate_per_s
    left_s = round(elapsed_s / share - elapsed_s if progress.eta_s is None else progress.eta_s)
    return f"{left_s // 60}:{left_s % 60:02} left"
