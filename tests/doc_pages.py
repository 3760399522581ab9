"""Pages of Markdown as data: their code, headings, links and tables, and running what they tell to type."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.serving import RunningServer, clean_environment

ROOT = Path(__file__).parents[1]
RUN_WAIT_S = 60
NOT_OUTPUT = ("sh", "console", "ini")
"""Languages that are never what the commands above them print."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Example:
    """Commands that a page tells to type, and the language and text of what it shows as their output, if it does."""

    commands: str
    language: str
    output: str


@dataclass(frozen=True)
class Page:
    """One file of Markdown, by its path from the root of the repository."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def fences(self) -> list[tuple[str, str]]:
        """Language and text of each fenced block."""
        return _FENCE.findall(self.text)

    @cached_property
    def code(self) -> list[str]:
        """Everything that is written as code, in blocks and in lines; a command that goes on is one line."""
        blocks = [text.replace("\\\n", " ") for _, text in self.fences]
        return blocks + _INLINE.findall(_FENCE.sub("", self.text))

    @property
    def examples(self) -> Iterator[Example]:
        """The `sh` blocks; the block that follows one is its output, unless it is to be typed or a file."""
        for (language, text), (next_language, next_text) in pairwise([*self.fences, ("sh", "")]):
            if language == "sh":
                shown = next_language not in NOT_OUTPUT
                yield Example(text, next_language if shown else "", next_text if shown else "")

    @property
    def anchors(self) -> set[str]:
        """What links to headings of this page may end in, as GitHub makes it."""
        titles = _HEADING.findall(_FENCE.sub("", self.text))
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    @property
    def links(self) -> list[str]:
        """Targets of links within the repository."""
        targets = _LINK.findall(_FENCE.sub("", self.text))
        return [target for target in targets if not target.startswith(("https:", "http:"))]

    def rows(self, heading: str = "") -> list[list[str]]:
        """The cells of all table rows under a heading (by default anywhere) that begin with code, without backticks."""
        text = self.section(heading) if heading else self.text
        lines = [line for line in text.splitlines() if re.match(r"\| (`|\d)", line)]
        return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]

    def section(self, heading: str) -> str:
        """What stands under a heading, up to the next one of any level."""
        found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", self.text, re.MULTILINE | re.DOTALL)
        assert found, f"{self.name} has no heading {heading!r}"
        return found[1]

    def headings(self, pattern: str) -> list[str]:
        """The headings that a pattern fits, the whole of each."""
        return [title for title in _HEADING.findall(_FENCE.sub("", self.text)) if re.fullmatch(pattern, title)]


def environment(server: RunningServer) -> dict[str, str]:
    """What a shell beside this server has set."""
    return clean_environment() | {
        "HEATFLEET_PORT": str(server.port),
        "NO_COLOR": "1",
        "TERM": "xterm",
        "NO_PROXY": server.host,
    }


def run_example(example: Example, server: RunningServer) -> None:
    """Type the commands in the folder where the server was started, and compare what they print.

    Pages speak of port 8000, where a server is by default. `…` in what they show stands for anything.
    """
    here = f"{server.host}:{server.port}"
    script = f'heatfleet() {{ "{sys.executable}" -m heatfleet "$@"; }}\n{example.commands}'
    ran = subprocess.run(
        ["bash", "-eu", "-c", script.replace("127.0.0.1:8000", here)],
        cwd=server.folder,
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_WAIT_S,
        check=False,
    )
    said = ran.stdout.replace(here, "127.0.0.1:8000").replace("\r\n", "\n").strip()
    assert ran.returncode == 0, f"{example.commands}\n{said}\n{ran.stderr}"
    if example.language == "json":
        assert fits(json.loads(said), json.loads(example.output)), f"{example.commands}\n{said}"
    elif example.language:
        pattern = re.escape(example.output.strip()).replace("…", ".*?")
        assert re.fullmatch(pattern, said, re.DOTALL), f"{example.commands}\n{said}"


def seen_on_terminal(server: RunningServer, *arguments: str) -> list[str]:
    """The lines that a command of ours draws on a terminal of 76 columns, without colours and trailing spaces."""
    ours, theirs = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "heatfleet", *arguments],
        cwd=server.folder,
        env=environment(server) | {"COLUMNS": "76"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    with suppress(OSError):  # Linux's word for the end, once nobody holds the other side
        while piece := os.read(ours, 65_536):
            drawn += piece
    os.close(ours)
    assert running.wait() == 0, drawn
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in drawn.decode().splitlines()]


def fits(found: Any, shown: Any) -> bool:
    """Whether a JSON value is the one shown, in which the string `…` stands for any value."""
    if shown == "…":
        return True
    if isinstance(shown, dict) and isinstance(found, dict):
        return list(shown) == list(found) and all(fits(found[key], value) for key, value in shown.items())
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) == len(found) and all(map(fits, found, shown))
    return bool(shown == found)
