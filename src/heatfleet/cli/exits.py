"""Exit codes: the one place that says how a command ends."""

from enum import IntEnum

from heatfleet.errors import BadMessage, BadQuery, HeatfleetError, KeyReused, NotAllowed, NotFound, Refused, SetupError


class ExitCode(IntEnum):
    """How a command ended, for scripts. Those from 64 up are the sysexits of BSD."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    PARTIAL = 3
    NOT_FOUND = 4
    TRY_AGAIN = 75
    NOT_ALLOWED = 77
    CONFIGURATION = 78
    INTERRUPTED = 130


_CODES: tuple[tuple[type[HeatfleetError], ExitCode], ...] = (
    (BadMessage, ExitCode.USAGE),
    (BadQuery, ExitCode.USAGE),
    (KeyReused, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (NotAllowed, ExitCode.NOT_ALLOWED),
    (Refused, ExitCode.TRY_AGAIN),
    (SetupError, ExitCode.CONFIGURATION),
)


def exit_code(error: HeatfleetError) -> ExitCode:
    """The exit code that tells a script what kind of error this was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILURE)
