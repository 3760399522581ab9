"""The benchmarks run, and their results become pictures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("benchmarks", reason="the source distribution has no benchmarks")

from benchmarks.plots import draw
from benchmarks.results import FOLDER, Result
from benchmarks.servers import environment


@pytest.mark.slow
def test_quick_runs_measure_and_find_the_report_true() -> None:
    """The benchmarks that need no load generator run from end to end; a day's report is compared with the truth."""
    command = [sys.executable, "-m", "benchmarks", "start", "publish", "day", "--quick", "--json"]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=110, check=False)

    assert 0 == run.returncode, run.stderr
    assert ["start", "publish", "day"] == list(json.loads(run.stdout))


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load")
def test_quick_runs_append_to_bigquerys_api() -> None:
    """Every message that was answered for reached the sink, or the run would fail; bytes and rows were counted."""
    command = [sys.executable, "-m", "benchmarks", "google", "--quick", "--json"]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=110, check=False)

    assert 0 == run.returncode, run.stderr
    for name in ("bigquery-single", "bigquery-batch"):
        _sqlite, near, far = json.loads(run.stdout)[name]["rounds"].values()
        assert all(one["rows_a_request"] > 1 and one["bytes_a_reading"] > 50 for one in near + far)


def test_equal_results_give_equal_pictures(tmp_path: Path) -> None:
    """Nothing but the results changes a picture: no date of drawing, no random names."""
    kept: dict[str, Result] = {}
    for file in sorted(FOLDER.glob("*.json")):
        kept |= {name: Result(**one) for name, one in json.loads(file.read_text(encoding="utf-8")).items()}
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        assert draw(kept, folder)

    first, second = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    assert first == second
    assert all(kept["single"].measured_at[:4].encode() in picture for picture in first.values())
