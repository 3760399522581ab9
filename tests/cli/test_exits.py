"""Exit codes and the words beside them."""

import pytest

from heatfleet import errors
from heatfleet.cli.exits import ExitCode, exit_code
from heatfleet.errors import HeatfleetError
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadMessage("bad-field", "x"), 2),
        (errors.BadQuery("tz", "x"), 2),
        (errors.KeyReused("x"), 2),
        (errors.NotFound("x"), 4),
        (errors.Overloaded("x"), 75),
        (errors.StoreUnavailable("x"), 75),
        (errors.BusUnavailable("x"), 75),
        (errors.SetupError("x"), 78),
        (HeatfleetError("x"), 1),
    ],
)
def test_each_error_has_its_code(error: HeatfleetError, code: int) -> None:
    """A script can tell what went wrong."""
    assert code == exit_code(error)


def test_error_is_a_line_without_traceback(run: Run) -> None:
    """What, which, what to do, on stderr, and nothing on stdout."""
    refused = run("config", HEATFLEET_PRT="1")

    assert refused.code == ExitCode.CONFIGURATION
    assert refused.out == ""
    assert refused.err == "heatfleet: HEATFLEET_PRT (environment) is not a setting; did you mean HEATFLEET_PORT?\n"


@pytest.mark.parametrize(
    "words", [("config",), ("db", "info"), ("rollup",), ("report",), ("send", "d", "on"), ("demo",)]
)
def test_misspelt_variable_stops_every_command(words: tuple[str, ...], run: Run) -> None:
    """No command goes on with settings that somebody meant to be others."""
    assert run(*words, HEATFLEET_STROE="x").code == ExitCode.CONFIGURATION
