"""Promises that are broken on purpose are noticed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "heatfleet"
PAGE = ROOT / "docs" / "explanation" / "guarantees.md"


def test_the_page_lists_them_all() -> None:
    """What is written there of ways to break promises is what is tried here."""
    section = PAGE.read_text(encoding="utf-8").partition("## How to break it")[2]
    listed = re.findall(r"^\| ([^|]+) \| `(tests/[^`]+)` \|$", section, re.MULTILINE)

    assert listed == [(it.what, it.test) for it in MUTATIONS]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.what)
def test_each_can_still_be_made(mutation: Mutation) -> None:
    """The text to be replaced is there, once, and so is the test that must notice."""
    text = (PACKAGE / mutation.path).read_text(encoding="utf-8")
    path, name = mutation.test.split("::")

    assert [1] * len(mutation.edits) == [text.count(old) for old, _ in mutation.edits]
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda it: it.what)
def test_each_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    """With the promise broken in a copy of the package, its test fails; pytest's code for that is 1."""
    shutil.copytree(PACKAGE, tmp_path / "heatfleet", ignore=shutil.ignore_patterns("__pycache__"))
    broken = tmp_path / "heatfleet" / mutation.path
    text = broken.read_text(encoding="utf-8")
    for old, new in mutation.edits:
        text = text.replace(old, new)
    broken.write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == ran.returncode, ran.stdout
