"""``heatfleet audit``: who did what, read beside a running server."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from heatfleet.cli import key_words as words
from heatfleet.cli.db import StoreUrl
from heatfleet.cli.terminal import visible
from heatfleet.domain.access import CLI, LOCAL, AuditEntry
from heatfleet.domain.commands import rfc3339
from heatfleet.domain.local_time import instant_ms
from heatfleet.domain.messages import ID_RULE, is_id

_PAGE = 1_000
_WIDTHS = {"time": 24, "who": 8, "from": 15, "what": 10, "about": 22, "detail": 6, "result": 0}
"""The columns. What is wider pushes the rest of its line to the right: lines are printed as they are read."""

Line = tuple[int, AuditEntry]


def audit(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="First instant: 24h, 7d, a date or a date-time in UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="The instant to stop before, likewise.")] = None,
    device_id: Annotated[str | None, typer.Option(help="Only orders to this heater.")] = None,
    key_id: Annotated[
        str | None,
        typer.Option(help="Only what was done with this key, and to it; also local (without a key) and cli (typed)."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=100_000, help="Only the newest so many of them.")] = None,
    store: StoreUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show who ordered what, when, from where and with which result, and who changed keys; oldest first.

    Examples:
    $ heatfleet audit --since 24h
    $ heatfleet audit --device-id bfadafebb608a154206aqu --limit 20
    """
    from heatfleet.config import load_settings
    from heatfleet.storage import open_ledger

    if device_id is not None and key_id is not None:
        raise typer.BadParameter("choose one of --device-id and --key-id")
    if device_id is not None and not is_id(device_id):
        raise typer.BadParameter(f"--device-id: it must be {ID_RULE}")
    now_ms = time.time_ns() // 1_000_000
    since_ms, until_ms = _instant_ms("--since", since, now_ms), _instant_ms("--until", until, now_ms)
    key = words.key_id_of(key_id) if key_id not in (None, LOCAL, CLI) else key_id
    with closing(open_ledger(load_settings(store=store).ledger, writable=False)) as ledger:
        asked = partial(
            ledger.audit, now_ms, since_ms=since_ms or 0, until_ms=until_ms, subject=device_id or key, actor=key
        )
        _tell(_all(asked) if limit is None else asked(limit=limit, newest=True), as_json=as_json)


def _instant_ms(option: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    if text.endswith(("m", "h", "d", "w")):
        return max(0, now_ms - words.duration_ms(option, text))
    try:
        return instant_ms(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: it {error}, or a length of time such as 24h") from None


def _all(asked: Callable[..., Sequence[Line]]) -> Iterator[Line]:
    """Page by page: a trail may be longer than the memory."""
    after = 0
    while page := asked(after=after, limit=_PAGE):
        yield from page
        after = page[-1][0]


def _tell(lines: Iterable[Line], *, as_json: bool) -> None:
    if not as_json:
        print(_row(_WIDTHS))
    for number, line in lines:
        at, (who, where) = rfc3339(line.at_ms), line.actor
        cells = (at, who, where, line.action, line.subject, line.detail, line.result)
        if as_json:
            names = ("at", "actor", "address", "action", "subject", "detail", "result")
            told = dict(zip(names, cells, strict=True))
            print(json.dumps({"entry": number, **told, "command_id": line.command_id}))
        else:
            print(_row(visible(cell) or "-" for cell in cells))


def _row(cells: Iterable[str]) -> str:
    """One line, in columns for eyes and for grep."""
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS.values(), strict=True)).rstrip()
