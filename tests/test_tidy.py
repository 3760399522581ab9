"""The rules of the house, kept by a machine."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = [path for top in ("src", "tests", "benchmarks", "examples") for path in (ROOT / top).rglob("*.py")]
MODULES = {
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "src").rglob("*.py")
}
TOOLS = "domain errors config metrics logs storage.base storage.block messaging.base"
USE_CASES = "access ingest rollup reports commands"
ROOMS = {  # Each room, from the innermost out, and the rooms it may import from besides itself.
    "heatfleet": "",
    "errors": "",
    "domain": "errors",
    "config_values": "errors domain",
    "config": "errors domain config_values",
    "metrics": "errors domain",
    "logs": "errors config",
    "storage.block": "errors domain",
    "storage.base": "errors domain storage.block",
    "messaging.base": "errors domain",
    "storage.*": "errors domain storage.base storage.block",  # an adapter: its vendor library, and no other adapter
    "messaging.*": "errors domain messaging.base",
    "storage": "errors domain storage.*",  # the door that chooses an adapter by its URL
    "messaging": "errors domain messaging.*",
    **dict.fromkeys(USE_CASES.split(), TOOLS),
    "rollup": f"{TOOLS} storage",  # a process of its own: it opens its store itself
    "wiring": f"{TOOLS} {USE_CASES} storage messaging storage.* messaging.*",
    "api": f"{TOOLS} {USE_CASES} wiring",
    "server": f"{TOOLS} {USE_CASES} storage wiring api",
    "refused": "errors domain messaging.base",
    "consumer": f"{TOOLS} ingest refused storage messaging api",  # a process of its own, as the server is
    "client": "errors domain config",
    "simulator": "errors domain client",  # a fleet outside the service: it knows what a device knows
    "cli": f"{TOOLS} {USE_CASES} storage messaging wiring api server consumer client simulator",  # doors, not adapters
    "__main__": "cli",
}
VENDORS = {  # A library, and the only rooms that import it.
    "apsw": "storage.sqlite",
    "pyarrow": "storage.sqlite storage.bigquery",
    "google": "storage.bigquery messaging.pubsub*",
    "grpc": "storage.bigquery messaging.pubsub*",
    "psycopg": "storage.postgresql",
    "fastapi": "api",
    "starlette": "api",
    "typer": "cli",
}
VAGUE = re.compile(r"(^|/)(common|helpers?|managers?|misc|utils?)(/|\.py$)")
BUSY = re.compile(r"\b(Connection|Popen|Thread|basicConfig|connect|environ|getenv|mkdir|open|run|urlopen)$")
FOREIGN = re.compile(
    r"/(?:work|root)/|/opt/(?:pypi|wheels)|pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|"
    r"(?:deb|security)\.debian\.org|proxy\.golang\.org|crates\.io"
)
LONG_FILES: dict[str, str] = {}  # path: why it may have more than 300 lines
Function = ast.FunctionDef | ast.AsyncFunctionDef


def expect_none(broken: Iterable[str]) -> None:
    assert not (found := sorted(set(broken))), "\n" + "\n".join(found)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 1)}"


def room_of(module: str) -> str:
    parts = module.split(".")[1:] or [module]
    return ".".join(parts[: 2 if parts[0] in {"storage", "messaging"} else 1])


def fits(room: str, patterns: str) -> bool:
    return any(fnmatchcase(room, pattern) for pattern in patterns.split())


def imports() -> Iterator[tuple[str, str, str]]:
    """Each import of the package as (place, room, imported module), wherever and however it is written."""
    for module, path in MODULES.items():
        parents = module.split(".")[: None if path.stem == "__init__" else -1]
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                near = parents[: len(parents) - node.level + 1] if node.level else []
                source = ".".join([*near, *filter(None, [node.module])])
                names = [f"{source}.{name}" if f"{source}.{name}" in MODULES else source for name in names]
            yield from ((place(path, node), room_of(module), name) for name in names)


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """What others may call; an override is explained where it is promised."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not re.search(r"override|overload|\.setter", " ".join(map(ast.unparse, node.decorator_list))):
                yield node
            yield from public(node.body) if isinstance(node, ast.ClassDef) else ()


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        script = isinstance(child, ast.If) and "__name__" in ast.unparse(child.test)
        if not script and not isinstance(child, Function | ast.Lambda):
            yield from (child, *run_at_import(child))


def test_imports_point_inwards() -> None:
    """Every module has its room, and imports only from that room and the rooms it may see."""
    unknown = {room_of(module) for module in MODULES if not fits(room_of(module), " ".join(ROOMS))}
    expect_none(f"{room}: give it a line in ROOMS" for room in unknown)
    expect_none(
        f"{where} {room} must not know {module}"
        for where, room, module in imports()
        if module.startswith("heatfleet.") and room_of(module) != room
        if not fits(room_of(module), ROOMS.get(room) or ROOMS.get(room.split(".")[0] + ".*", ""))
    )


def test_each_vendor_library_has_one_home() -> None:
    """A vendor library is imported in one folder, so that leaving it changes one folder."""
    expect_none(
        f"{where} {room} must not know {module}"
        for where, room, module in imports()
        if not fits(room, VENDORS.get(module.split(".")[0], "*"))
    )


def test_names_say_what_is_inside() -> None:
    """No file or folder has a name that would fit anything."""
    expect_none(place(path) for path in CODE if VAGUE.search(path.relative_to(ROOT).as_posix()))


def test_files_and_functions_are_short() -> None:
    """A file has at most 300 lines and a function at most 60."""
    files = {place(path) for path in CODE if path.read_bytes().count(b"\n") > 300}
    functions = ((path, node) for path in CODE for node in ast.walk(parsed(path)) if isinstance(node, Function))
    expect_none(files - {f"{path}:1" for path in LONG_FILES})
    expect_none(place(path, node) for path, node in functions if (node.end_lineno or 0) - node.lineno >= 60)


def test_importing_does_nothing() -> None:
    """No module opens, connects, starts or asks the environment while it is imported."""
    busy = (ast.Name, ast.Attribute)
    nodes = ((path, node) for path in MODULES.values() for node in run_at_import(parsed(path)))
    names = ((place(path, node), ast.unparse(node)) for path, node in nodes if isinstance(node, busy))
    expect_none(f"{where} {name}" for where, name in names if BUSY.search(name))


def test_only_the_command_line_prints() -> None:
    """Outside cli/ the service speaks through logs, metrics and answers."""
    quiet = [path for module, path in MODULES.items() if room_of(module) != "cli"]
    nodes = ((path, node) for path in quiet for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))
    expect_none(place(path, node) for path, node in nodes if ast.unparse(node.func) == "print")


def test_public_names_and_tests_are_explained() -> None:
    """Every module, public class and function of the package has a docstring, and so has every test."""
    named = [(path, node) for path in CODE for node in public(parsed(path).body)]
    owed = [(path, node) for path, node in named if path in MODULES.values() or node.name.startswith("test_")]
    expect_none(place(path) for path in MODULES.values() if not ast.get_docstring(parsed(path)))
    expect_none(f"{place(path, node)} {node.name}" for path, node in owed if not ast.get_docstring(node))


def test_no_registry_and_no_machine_is_named() -> None:
    """A clone installs from wherever its owner says, and carries no path of the machine it was written on."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone: which files are ours is not known")
    git = [
        "git",
        "-c",
        f"safe.directory={ROOT}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    ours = [name for name in listed if (ROOT / name).is_file() and "/api/assets/" not in name]
    texts = ((name, (ROOT / name).read_text(encoding="utf-8", errors="replace")) for name in ours)
    expect_none(f"{name} names {found}" for name, text in texts for found in FOREIGN.findall(text))
