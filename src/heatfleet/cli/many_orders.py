"""Many orders of ``heatfleet send``: read from a file, sent in requests of a thousand, and summed up."""

import csv
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from heatfleet.cli.exits import ExitCode, exit_code
from heatfleet.cli.terminal import narrate, print_json, visible
from heatfleet.domain.messages import ID_RULE, is_id
from heatfleet.errors import HeatfleetError, Refused

if TYPE_CHECKING:
    from heatfleet.client import Client

AT_ONCE = 1_000
_TRIES = 4
_WAIT_S_MAX = 120
_TOLD_MAX = 20
_SWITCHES = {"on": True, "off": False}


class Order(NamedTuple):
    """Switch a heater; ``place`` is how people find the order again."""

    device_id: str
    switch: bool
    place: str


@dataclass
class Summary:
    """What became of many orders: some ``sent``, some ``rejected``, and the ``error`` that kept back the rest."""

    orders: int
    idempotency_key: str
    sent: int = 0
    commands: list[dict[str, str]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    error: HeatfleetError | None = None

    @property
    def code(self) -> ExitCode:
        """How the command ends."""
        if self.error is not None:
            return exit_code(self.error)
        if self.rejected:
            return ExitCode.PARTIAL if self.sent else ExitCode.FAILURE
        return ExitCode.OK


def read_orders(path: str, *, switch: bool | None) -> list[Order]:
    """The orders of a file, ``-`` for stdin; ``switch`` holds for lines that name a heater alone.

    Blank lines, lines that begin with ``#`` and a heading ``device_id`` are passed over. All lines are looked at before
    anything is sent; what is wrong with one is told without repeating it.
    """
    orders: list[Order] = []
    try:
        with nullcontext(sys.stdin) if path == "-" else Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            for row in rows:
                words = [word.strip() for word in row]
                if not any(words) or words[0].startswith("#") or (not orders and words[0] == "device_id"):
                    continue
                orders.append(_order(words, switch, f"line {rows.line_num}"))
    except OSError as error:
        raise typer.BadParameter(f"--file: it cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise typer.BadParameter("--file: it is no text of lines in UTF-8") from None
    if not orders:
        raise typer.BadParameter("--file: there is no order in it")
    return orders


def _order(words: Sequence[str], switch: bool | None, place: str) -> Order:
    device_id, word = words[0], words[1] if len(words) > 1 else ""
    wanted = _SWITCHES.get(word) if word else switch
    if not is_id(device_id):
        raise typer.BadParameter(f"--file, {place}: a devId must be {ID_RULE}; nothing was sent")
    if wanted is None or len(words) > 2:
        how = "write on or off after the devId and a comma, or once for all lines at the end of the command"
        raise typer.BadParameter(f"--file, {place}: {how}; nothing was sent")
    return Order(device_id, wanted, place)


def send_all(client: "Client", orders: Sequence[Order], idempotency_key: str | None) -> Summary:
    """Send them, a thousand at a time, for as long as the server takes them.

    Each request has a key of its own, so trying again sends nothing twice, now or in another run.
    """
    summary = Summary(len(orders), idempotency_key or secrets.token_urlsafe(9))
    if len(orders) > AT_ONCE:
        narrate(f"{len(orders):,} orders, {AT_ONCE:,} at a time; --idempotency-key is {summary.idempotency_key}")
    for start in range(0, len(orders), AT_ONCE):
        some = orders[start : start + AT_ONCE]
        body = [{"device_id": order.device_id, "switch": order.switch} for order in some]
        try:
            answer = _patiently(client, body, f"{summary.idempotency_key}-{start // AT_ONCE + 1}")
        except HeatfleetError as error:
            summary.error = error
            break
        summary.sent += answer["sent"]
        summary.commands += answer["commands"]
        for item in answer["rejected"]:
            order = some[item["index"]]
            told = {"device_id": order.device_id, "place": order.place, "type": item["type"], "detail": item["detail"]}
            summary.rejected.append(told)
    return summary


def _patiently(client: "Client", body: Sequence[dict[str, Any]], idempotency_key: str) -> dict[str, Any]:
    """What the server answers, asked again a few times where it says "not now"."""
    for _ in range(_TRIES - 1):
        try:
            return client.send_many(body, idempotency_key=idempotency_key)
        except Refused as refusal:
            if refusal.retry_after_s > _WAIT_S_MAX:
                raise
            narrate(f"{refusal}; trying again in {refusal.retry_after_s} s")
            time.sleep(refusal.retry_after_s)
    return client.send_many(body, idempotency_key=idempotency_key)


def tell(summary: Summary, *, as_json: bool) -> None:
    """Say what became of the orders."""
    if as_json:
        shown = ("orders", "sent", "idempotency_key", "commands", "rejected")
        error = None if summary.error is None else visible(str(summary.error))
        print_json({name: getattr(summary, name) for name in shown} | {"error": error})
    else:
        print(f"sent {summary.sent:,} of {summary.orders:,} orders")
    for item in summary.rejected[:_TOLD_MAX]:
        narrate(f"not sent: {item['device_id']}, {item['place']}: {visible(item['detail'])}")
    if len(summary.rejected) > _TOLD_MAX:
        narrate(f"not sent: {len(summary.rejected) - _TOLD_MAX:,} more; --json tells all")
    if summary.error is not None:
        narrate(f"heatfleet: {visible(str(summary.error))}")
        if isinstance(summary.error, Refused):
            again = f"the same again with --idempotency-key {summary.idempotency_key}"
            narrate(f"{again} sends the rest, and nothing twice")
