"""What tests measured or counted, told at the end as one table: what `make soak` is run for.

A test asks for the fixture ``figure`` and says each figure once, with the row of the plan of tests that it belongs to:

    def test_kills(figure: Figure) -> None:
        figure("D1", "kills", 200)
        figure("D1", "ready again, p95 (s)", 0.94)

Figures of a test that failed are marked so. ``--figures NAME`` also writes the table to ``NAME.md``, and with the same
content for machines to ``NAME.json``, both with date and machine: `make soak ARGS="--figures benchmarks/soak/<date>"`.
"""

import json
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.results import Result

Figure = Callable[[str, str, object], None]
"""Notes a figure: the row of the plan, what it is (with its unit), and its value."""


class _Noted(NamedTuple):
    row: str
    what: str
    value: object
    test: str


_NOTED = pytest.StashKey[list[_Noted]]()
_FAILED = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", metavar="NAME", help="write what tests measured to NAME.md and NAME.json")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NOTED] = []
    config.stash[_FAILED] = set()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a figure of this test for the table at the end."""

    def note(row: str, what: str, value: object) -> None:
        request.config.stash[_NOTED].append(_Noted(row, what, value, request.node.nodeid))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.config.stash[_FAILED].add(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    noted = config.stash[_NOTED]
    noted.sort(key=lambda one: (one.row[0], int(one.row[1:])))
    if not noted:
        return
    failed = config.stash[_FAILED]
    rows = [(f"{one.row}: {one.what}", _words(one.value), "no" if one.test in failed else "yes") for one in noted]
    result = Result("Under load and faults", ("figure", "value", "as promised"), rows, {})
    terminalreporter.section("figures")
    terminalreporter.write_line(result.markdown())
    if name := config.getoption("--figures"):
        Path(f"{name}.md").write_text(result.markdown(), encoding="utf-8")
        Path(f"{name}.json").write_text(f"{json.dumps(asdict(result), indent=1)}\n", encoding="utf-8")


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
