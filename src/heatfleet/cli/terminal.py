"""Where words go: data to stdout, narration to stderr; colour only where a person looks (NO_COLOR is honoured)."""

import json
import sys
from datetime import UTC, datetime

from rich.console import Console


def screen() -> Console:
    """Stdout, for data drawn for people; without colour when it is no terminal."""
    return Console(markup=False, highlight=False, emoji=False)


def margin() -> Console:
    """Stderr, for progress, warnings and errors."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def on_terminal() -> bool:
    """Whether stdout is a terminal, so that a person rather than a program reads it."""
    return sys.stdout.isatty()


def narrate(text: str) -> None:
    """One line for the person who waits, beside the data."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def visible(text: str) -> str:
    """The text with every character that could play tricks on a terminal or a log written as its code."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def utc(time_ms: int) -> str:
    """An instant for people, to the second."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def bytes_text(count: int) -> str:
    """A size for people."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"
