"""The documentation tells all there is and nothing else, and what it says to type works as shown."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import Any

import pytest
import typer

from heatfleet import __version__
from heatfleet.api.app import create_app
from heatfleet.api.problem_table import TABLE
from heatfleet.cli import commands
from heatfleet.cli.exits import ExitCode
from heatfleet.cli.where import show_where_to_look
from heatfleet.config import Settings, variable
from heatfleet.metrics import Metrics
from tests.doc_pages import ROOT, Page, environment, run_example, seen_on_terminal
from tests.serving import RunningServer

PAGES = {
    path.relative_to(ROOT).as_posix(): Page(path.relative_to(ROOT).as_posix())
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
RUN = sorted(name for name, page in PAGES.items() if any(page.examples) and name != "README.fr.md")
TOOLS = ("awk", "bash", "curl", "gzip", "split", "sqlite3")
StartServer = Callable[..., RunningServer]


def reference(name: str) -> Page:
    return PAGES[f"docs/reference/{name}.md"]


def expect_none(broken: Iterable[str]) -> None:
    assert not (found := sorted(set(broken))), "\n" + "\n".join(found)


def commands_by_name() -> dict[str, Any]:
    """Every command that can be run, by the words it is called with."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", {})
        for word, child in children.items():
            yield from walk(child, f"{name} {word}")
        if not children:
            yield name, command

    return dict(walk(typer.main.get_command(commands()), "heatfleet"))


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}


def start(start_server: StartServer) -> RunningServer:
    """A server as `heatfleet serve` is by default, with its store in `var/` of its folder."""
    return start_server(store="sqlite:///var/heatfleet.db")


def test_every_setting_is_documented() -> None:
    """The settings are listed with their defaults, all of them and no other."""
    documented = {row[0]: row[1] for row in reference("settings").rows()}

    assert {variable(name): str(field.default) for name, field in Settings.model_fields.items()} == documented


def test_every_metric_is_documented() -> None:
    """The metrics are listed with their kind and labels."""
    registry = Metrics().registry
    there = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in registry.collect()
    }
    rows = [row for row in reference("metrics").rows() if len(row) == 4]
    labels = {
        f"{metric._name}_total": list(metric._labelnames)
        for metric in vars(Metrics()).values()
        if getattr(metric, "_labelnames", ())
    }

    assert there == {(row[0], row[1]) for row in rows}
    assert labels == {row[0]: re.findall(r"\w+", row[2]) for row in rows if row[2]}


def test_every_problem_is_documented() -> None:
    """The problems are listed with their status."""
    documented = [(row[0], int(row[1])) for row in reference("errors").rows()]

    assert sorted((problem.slug, problem.status) for problem in TABLE) == sorted(documented)


def test_every_command_and_option_is_documented() -> None:
    """Each command has its heading, and a table of its options."""
    page = reference("cli")
    there = {name: options(command) - {"--help"} for name, command in commands_by_name().items()}
    documented = {
        title.strip("`"): {row[0] for row in page.rows(title)} for title in page.headings(r"`heatfleet [a-z ]+`")
    }

    assert there == documented


def test_every_exit_code_is_documented() -> None:
    """Scripts can rely on the list of exit codes."""
    documented = {int(row[0]): row[1] for row in reference("cli").rows("Exit codes")}

    assert {code.value: code.name.lower().replace("_", " ") for code in ExitCode} == documented


def test_every_route_is_documented() -> None:
    """Each route has its heading, and names its parameters."""
    page = reference("http")
    there = {
        f"`{method.upper()} {path}`": {parameter["name"] for parameter in operation.get("parameters", ())}
        for path, operations in create_app(Settings()).openapi()["paths"].items()
        for method, operation in operations.items()
    }

    assert set(there) == set(page.headings(r"`[A-Z]+ /.*`"))
    expect_none(
        f"{route} does not tell of {name}"
        for route, names in there.items()
        for name in names
        if f"`{name}`" not in page.section(route)
    )


def test_every_table_and_column_is_documented() -> None:
    """Whoever opens a file with SQL finds each table, view and column explained."""
    page = reference("files")
    there = {}
    scripts = sorted((ROOT / "src/heatfleet/storage/sqlite/schema").glob("*.sql"))
    for _, versions in groupby(scripts, lambda path: path.name.split("_")[0]):
        with closing(sqlite3.connect(":memory:")) as database:
            for script in versions:
                database.executescript(script.read_text(encoding="utf-8"))
            made = database.execute("SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall()
            for kind, name in made:
                if not re.fullmatch(r"h(0[1-9]|1\d|2[0-3])", name):  # as h00
                    columns = database.execute(f"SELECT name FROM pragma_table_info('{name}')")
                    there[f"{kind} `{name}`"] = [column for (column,) in columns]

    assert there == {title: [row[0] for row in page.rows(title)] for title in page.headings(r"(table|view) `\w+`")}


def test_pages_name_only_what_is_there() -> None:
    """No page tells of a setting, metric, problem, command, option, verb of make, or test that does not exist."""
    settings = {variable(name) for name in Settings.model_fields}
    metrics = {family.name for family in Metrics().registry.collect()}
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    known = commands_by_name()
    gone = []
    for name, page in PAGES.items():
        gone += [
            f"{name}: {word}" for word in re.findall(r"\bHEATFLEET_[A-Z_]+[A-Z]", page.text) if word not in settings
        ]
        for code in page.code:
            metric = re.fullmatch(r"(heatfleet_\w+?)(_total)?(\{.*\})?", code)
            gone += [f"{name}: {code}"] if metric and metric[1] not in metrics else []
            gone += [f"{name}: make {verb}" for verb in re.findall(r"\bmake ([a-z]+)", code) if verb not in verbs]
            for words, rest in re.findall(r"(?:^|bin/|[\s`])heatfleet ((?:cloud |db |keys )?[a-z]+)([^\n|;&)]*)", code):
                command = known.get(f"heatfleet {words}")
                given = set(re.findall(r"(?<= )--[a-z-]+", rest))
                gone += [f"{name}: heatfleet {words}{rest}"] if not command or given - options(command) else []
            for path, function in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", code):
                text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
                gone += [] if text and (f"def {function}(" in text or not function) else [f"{name}: {code}"]
    expect_none(gone)


def test_links_lead_somewhere() -> None:
    """Every link within the repository leads to a file, and to a heading that is there."""
    broken = []
    for name, page in PAGES.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            target = (page.path.parent / path).resolve() if path else page.path
            found = target.exists() and (not anchor or anchor in Page(os.path.relpath(target, ROOT)).anchors)
            broken += [] if found else [f"{name}: {link}"]
    expect_none(broken)


def test_the_index_leads_to_every_page() -> None:
    """docs/README.md names every page of the folder."""
    index = PAGES["docs/README.md"]
    reached = {os.path.normpath(f"docs/{link.partition('#')[0]}") for link in index.links}

    expect_none(name for name in PAGES if name.startswith("docs/") and name not in reached | {index.name})


def test_the_changelog_tells_of_this_version() -> None:
    """The version that runs has its heading."""
    assert f"## {__version__}" in PAGES["CHANGELOG.md"].text


def test_both_readmes_say_to_type_the_same() -> None:
    """The French README has the same commands and outputs as the English one."""
    english, french = PAGES["README.md"], PAGES["README.fr.md"]

    assert english.fences == french.fences


@pytest.mark.parametrize("name", RUN)
def test_what_a_page_says_to_type_works(name: str, start_server: StartServer) -> None:
    """The commands of a page, typed one after the other beside a fresh server, print what the page shows."""
    examples = list(PAGES[name].examples)
    typed = "".join(example.commands for example in examples)
    missing = [tool for tool in TOOLS if re.search(rf"\b{tool}\b", typed) and not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    server = start(start_server)
    for example in examples:
        run_example(example, server)


def test_the_picture_in_the_readme_is_what_a_terminal_shows(start_server: StartServer) -> None:
    """The commands above the picture draw it."""
    server = start(start_server)
    fences = PAGES["README.md"].fences
    (number,) = (number for number, (_, text) in enumerate(fences) if text.startswith("$ heatfleet simulate"))
    simulate, report = (line.removeprefix("$ heatfleet ").split() for line in fences[number][1].splitlines())
    for arguments in (simulate, ["rollup"]):
        command = [sys.executable, "-m", "heatfleet", *arguments]
        subprocess.run(command, cwd=server.folder, env=environment(server), check=True, capture_output=True)

    assert fences[number + 1][1].splitlines() == seen_on_terminal(server, *report)


def test_the_quickstart_shows_what_the_demo_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Where to look, line by line."""
    show_where_to_look("http://127.0.0.1:8000", seed=1)
    (shown,) = (text for _, text in PAGES["docs/quickstart.md"].fences if text.startswith("Heatfleet runs at"))

    assert shown.strip() in capsys.readouterr().out


def test_the_example_heater_obeys(start_server: StartServer) -> None:
    """examples/heater.py reports its power, hears an order, and reports the power that follows from it."""
    server = start(start_server)
    command = [sys.executable, "-W", "error", str(ROOT / "examples/heater.py"), server.base_url, "my-heater"]
    heater = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert heater.stdout is not None
        assert heater.stdout.readline() == "reported 1500 W\n"

        server.client.post("/send", json={"device_id": "my-heater", "switch": False}).raise_for_status()
        assert heater.stdout.readline() == "reported 0 W\n"
    finally:
        heater.kill()
        heater.communicate()
