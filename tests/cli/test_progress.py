"""How a simulation shows its progress."""

import re

import pytest

from heatfleet.cli.progress import ProgressView
from heatfleet.simulator import Progress

START_MS = 1_767_571_200_000


def progress(phase: str = "history", **fields: object) -> Progress:
    """A simulation that is half done."""
    half = {
        "messages": 1200,
        "refused": 0,
        "rate_per_s": 100.0,
        "simulated_ms": START_MS + 3_600_000,
        "share": 0.5,
        "eta_s": 75.0,
        "note": "",
    }
    return Progress(**{"phase": phase, **half, **fields})  # type: ignore[arg-type]


def shown(capfd: pytest.CaptureFixture[str], *steps: Progress, aside: str = "") -> str:
    """What is written while these follow each other at once."""
    with ProgressView(START_MS, aside=lambda: aside) as view:
        for step in steps:
            view(step)
    said = capfd.readouterr()

    assert said.out == ""
    return said.err


def test_line_tells_share_rate_and_time_left(capfd: pytest.CaptureFixture[str]) -> None:
    """In a log a line says it all."""
    line = "history · 50% · 1:15 left · 1,200 messages · 100 a second · 2026-01-05 01:00:00 UTC\n"

    assert shown(capfd, progress()) == line


def test_lines_come_now_and_then(capfd: pytest.CaptureFixture[str]) -> None:
    """A log is not filled with progress; a new phase is always told."""
    lines = shown(capfd, *[progress() for _ in range(50)], progress("finishing"), progress("finishing")).splitlines()

    assert [line.split()[0] for line in lines] == ["history", "finishing"]


def test_terminal_shows_a_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a person looks, the line has a bar before it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    said = shown(capfd, progress())

    assert "━━━━━━━━━━━━" in said
    assert "1:15 left" in said


def test_run_without_end_is_measured_against_now(capfd: pytest.CaptureFixture[str]) -> None:
    """While it catches up it has a share too; once live it has none."""
    catching_up = shown(capfd, progress(share=None, eta_s=None))
    live = shown(capfd, progress("live", share=None, eta_s=None), aside="12 kWh today")

    assert catching_up.startswith("history · 0% · ")
    assert live == "live · 1,200 messages · 12 kWh today · 2026-01-05 01:00:00 UTC\n"


def test_refusals_and_troubles_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    """What goes wrong stands before what a narrow window may cut off."""
    said = shown(capfd, progress(refused=3, note="the service does not answer"))

    assert said.startswith("history · 50% · the service does not answer · 3 refused · ")


@pytest.mark.parametrize("columns", [40, 80, 90, 140])
def test_terminal_line_never_breaks(
    columns: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a narrow window first the bar gives way, then the words that come last."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    said = shown(capfd, progress(messages=12_345_678, rate_per_s=12_345.0))
    lines = [
        line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).replace("\r", "\n").splitlines() if line.strip()
    ]

    assert all(len(line.rstrip()) <= columns and "50%" in line for line in lines)
    assert ("━" in said) is (columns > 90)


def test_last_count_is_the_true_one(capfd: pytest.CaptureFixture[str]) -> None:
    """However soon it follows, the end of a run is shown."""
    said = shown(capfd, progress("finishing"), progress("finishing", messages=1234))

    assert "1,234 messages" in said.splitlines()[-1]
