"""What the command line says of itself."""

import subprocess
import sys
from typing import Any

import pytest
import typer

from heatfleet import __version__
from heatfleet.cli import commands
from heatfleet.cli.exits import ExitCode
from tests.cli.conftest import Run


def every_command() -> list[tuple[str, ...]]:
    """The words that name each command."""
    walk: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(commands()))]
    for words, command in walk:
        walk += [((*words, word), child) for word, child in getattr(command, "commands", {}).items()]
    return [words for words, _ in walk]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_opens_with_two_examples(words: tuple[str, ...], run: Run) -> None:
    """Whoever asks for help sees first how the command is typed."""
    shown = run(*words, "--help")
    before_options = shown.out.partition("Options")[0]

    assert shown.code == 0
    assert " ".join(("Usage: heatfleet", *words)) in before_options
    assert before_options.count(" ".join(("heatfleet", *words)).rstrip()) - 1 == 2
    assert "Examples:" in before_options


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_shows_no_type_of_a_switch(words: tuple[str, ...], run: Run) -> None:
    """`--json` takes no value; and examples begin in the same column everywhere."""
    shown = run(*words, "--help").out

    assert "bool" not in shown
    assert all(line.startswith(" $ ") for line in shown.splitlines() if line.lstrip().startswith("$ "))


def test_help_tells_the_exit_codes(run: Run) -> None:
    """Scripts can rely on them."""
    shown = " ".join(run("--help").out.split())

    assert all(f" {code.value} " in shown for code in ExitCode)


def test_version(run: Run) -> None:
    """`heatfleet --version` names the program and its version."""
    assert f"heatfleet {__version__}\n" == run("--version").out


def test_unknown_command_is_a_usage_error(run: Run) -> None:
    """It names the command that was meant."""
    refused = run("reprot")

    assert refused.code == ExitCode.USAGE
    assert "report" in refused.err


def test_help_loads_nothing_heavy() -> None:
    """`heatfleet --help` answers quickly: what commands need is imported when they run."""
    heavy = "{'numpy', 'pydantic', 'fastapi', 'httpx2', 'apsw', 'uvicorn', 'structlog'}"
    program = f"import sys; from heatfleet.cli import commands; commands(); print({heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout == "set()\n"


def test_module_is_the_command() -> None:
    """`python -m heatfleet` does the same."""
    ran = subprocess.run([sys.executable, "-m", "heatfleet", "--version"], capture_output=True, text=True, check=True)

    assert f"heatfleet {__version__}\n" == ran.stdout
