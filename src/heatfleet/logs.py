"""Logs: one pipeline for our own lines, the server's and every library's. JSON, or coloured lines on a terminal.

Nothing is logged for a message: at thousands a second a log line costs more than the message. ``/metrics`` counts.
"""

import json
import logging
import sys
from collections.abc import MutableMapping, Sequence
from traceback import format_exception
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExcInfo, Processor

from heatfleet.config import Settings

_SHARED: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


# What would begin a line, or tell a terminal to do something, in text that may have come from outside.
_UNSAFE = (*range(32), *range(127, 160), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_SAFE = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _UNSAFE}


def configure_logging(settings: Settings) -> None:
    """Send all logs of this process to stderr, as the settings ask for."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    # Tracebacks without local variables: those hold what devices sent.
    last: Sequence[Processor] = (
        (
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_json_line),
        )
        if as_json
        else (_in_one_line, structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback))
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # Uvicorn warns of every malformed request: a line for each would let any caller fill the disk.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _json_line(*values: Any, **options: Any) -> str:
    """JSON escapes all that is unsafe but one."""
    return json.dumps(*values, **options).replace("\x7f", "\\u007f")


def _in_one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with nothing unsafe in its texts."""
    return {name: value.translate(_SAFE) if isinstance(value, str) else value for name, value in event.items()}


def _write_traceback(output: TextIO, exc_info: ExcInfo) -> None:
    """Our own lines of code as they are; what an exception says of itself in one line."""
    for part in format_exception(*exc_info):
        is_ours = part.startswith(("  File ", "Traceback "))
        output.write("\n" + (part if is_ours else part.rstrip("\n").translate(_SAFE)).rstrip("\n"))
