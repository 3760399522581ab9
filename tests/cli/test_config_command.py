"""`heatfleet config`."""

import json
from pathlib import Path

from heatfleet.config import Settings, variable
from tests.cli.conftest import Run


def test_table_tells_value_and_source(run: Run) -> None:
    """One line for each setting."""
    Path(".env").write_text("HEATFLEET_TZ=Europe/Paris\n")
    rows = [line.split() for line in run("config", HEATFLEET_PORT="9000").out.splitlines()]

    assert rows[0] == ["variable", "value", "from"]
    assert [variable(name) for name in Settings.model_fields] == [row[0] for row in rows[1:]]
    assert ["HEATFLEET_PORT", "9000", "environment"] in rows
    assert ["HEATFLEET_TZ", "Europe/Paris", ".env"] in rows
    assert ["HEATFLEET_ROLLUP_EVERY_S", "60", "default"] in rows


def test_json(run: Run) -> None:
    """The same for programs."""
    origins = {one["name"]: one for one in json.loads(run("config", "--json", HEATFLEET_PORT="9000").out)}

    assert origins["port"] == {"name": "port", "variable": "HEATFLEET_PORT", "value": 9000, "source": "environment"}
    assert list(Settings.model_fields) == list(origins)
