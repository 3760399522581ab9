"""``heatfleet keys``: who may call, made and ended beside a running server."""

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from heatfleet.cli import key_words as words
from heatfleet.cli.db import StoreUrl, ledger_place
from heatfleet.cli.help import Command, Group
from heatfleet.cli.terminal import narrate, on_terminal, print_json, screen, utc
from heatfleet.domain.access import SCOPES, ApiKey, Bounds, Scope, digest_of, new_key
from heatfleet.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heatfleet.storage.base import KeyRing

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The 8 characters that `heatfleet keys list` shows.")]

_OPENS = {
    "admin": "admin opens everything: all heaters, all reports, the audit trail; it is for people, not for devices",
    "command:bulk": "command:bulk switches as many heaters as it likes with one request",
}
_LIMIT_MAX = 10_000_000
"""As that of the settings whose place a key's own limits take."""
_PIPE_COLUMNS = 10_000


def commands() -> typer.Typer:
    """``heatfleet keys`` and what it can do."""
    app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")
    app.callback()(_keys)
    app.command(cls=Command)(create)
    app.command("list", cls=Command)(list_)
    app.command(cls=Command)(rotate)
    app.command(cls=Command)(revoke)
    return app


def _keys() -> None:
    """Make, show, rotate and revoke API keys; running servers follow within 5 s.

    Examples:
    $ heatfleet keys create --scope ingest --name "gateway lyon"
    $ heatfleet keys list
    """


def create(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help=f"What it is for, any of: {', '.join(SCOPES)}. May be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Who or what has it, for people.")],
    device_prefix: Annotated[str | None, typer.Option(help="Only for devices whose devId begins so.")] = None,
    product_prefix: Annotated[str | None, typer.Option(help="Only for devices whose productId begins so.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When it ends: 90d, 12h or a date in UTC; never otherwise.")
    ] = None,
    messages_per_s: Annotated[
        int | None,
        typer.Option(
            min=0, max=_LIMIT_MAX, help="Messages it may send a second; 0: any number. Else as the settings say."
        ),
    ] = None,
    commands_per_min: Annotated[
        int | None,
        typer.Option(
            min=0, max=_LIMIT_MAX, help="Orders it may give a minute; 0: any number. Else as the settings say."
        ),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it on stdout, once: of the key itself nothing is kept.

    Examples:
    $ heatfleet keys create --scope ingest --name "gateway lyon" --device-prefix fr-69-
    $ KEY=$(heatfleet keys create --scope report --name dashboard --expires 90d)
    """
    now_ms = time.time_ns() // 1_000_000
    scopes = words.scopes_of(scope or ())
    text, key_id = new_key()
    key = ApiKey(
        key_id,
        digest_of(text),
        words.name_of(name),
        scopes,
        now_ms,
        _bounds(scopes, device_prefix, product_prefix),
        messages_per_s,
        commands_per_min,
        None if expires is None else words.end_of(expires, now_ms),
    )
    ring, where = _open(store, make=True)
    with closing(ring):
        is_first = not ring.keys()
        ring.add(key, by=words.whoever_types())
    _hand_over(text, key, now_ms, where, as_json=as_json)
    if is_first:
        narrate("This is the first key: from now on every request needs one, also from this machine.")
    for opened in sorted(scopes & set(_OPENS)):
        narrate(f"heatfleet: warning: {_OPENS[opened]}")


def _bounds(scopes: frozenset[Scope], device_prefix: str | None, product_prefix: str | None) -> Bounds:
    bounds = Bounds(
        words.prefix_of("--device-prefix", device_prefix), words.prefix_of("--product-prefix", product_prefix)
    )
    if any(bounds) and scopes & {"admin", "metrics"}:
        raise typer.BadParameter("admin and metrics are about all devices: leave them out, or the prefixes")
    if bounds.product_prefix and not bounds.device_prefix and "ingest" in scopes:
        raise typer.BadParameter(
            "who sends messages says itself of which product a device is: --product-prefix would bind nobody; "
            "give --device-prefix too, or leave out ingest"
        )
    return bounds


def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Also keys that have ended.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the keys there are, what each may do, and which to look after.

    Examples:
    $ heatfleet keys list
    $ heatfleet keys list --all --json
    """
    now_ms = time.time_ns() // 1_000_000
    ring, where = _open(store, writable=False)
    with closing(ring):
        keys = ring.keys()
    shown = [key for key in keys if all_ or key.state(now_ms) == "active"]
    if as_json:
        print_json([words.as_object(key, now_ms) for key in shown])
    elif shown:
        _draw(shown, now_ms)
    if not keys:
        narrate(f"no keys {where}: `heatfleet keys create` makes one")
    elif len(shown) < len(keys):
        narrate(f"not shown, since they have ended: {len(keys) - len(shown)}; --all shows them")
    for found, fix in words.to_look_after(keys, now_ms):
        narrate(f"heatfleet: warning: {found}: {fix}")


def rotate(
    key_id: KeyId,
    *,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old key goes on: 12h, 7d, 2w or 0.")
    ] = "7d",
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When the new key ends; after as long as the old one otherwise.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key with the rights of another one, which ends after an overlap; print the new one, once.

    Examples:
    $ heatfleet keys rotate 4fGh7Kq2
    $ KEY=$(heatfleet keys rotate 4fGh7Kq2 --overlap 12h)
    """
    now_ms = time.time_ns() // 1_000_000
    old_id = words.key_id_of(key_id)
    overlap_end_ms = now_ms + words.duration_ms("--overlap", overlap)
    end_ms = None if expires is None else words.end_of(expires, now_ms)
    text, new_id = new_key()
    ring, where = _open(store)
    with closing(ring):
        old = _find(ring.keys(), old_id)
        if end_ms is None and old.expires_at_ms is not None:
            end_ms = now_ms + old.expires_at_ms - old.created_at_ms
        new = replace(
            old,
            key_id=new_id,
            digest=digest_of(text),
            created_at_ms=now_ms,
            expires_at_ms=end_ms,
            used_at_ms=None,
        )
        old = ring.replace(old_id, new, expires_at_ms=overlap_end_ms, by=words.whoever_types())
    _hand_over(text, new, now_ms, where, as_json=as_json)
    ends_ms = old.expires_at_ms or now_ms
    if ends_ms > now_ms:
        narrate(f"{old_id} goes on until {utc(ends_ms)}; by then whoever has it needs the new one.")
    else:
        narrate(f"{old_id} has ended.")


def revoke(key_id: KeyId, *, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """End a key at once; revoking it again changes nothing.

    Examples:
    $ heatfleet keys revoke 4fGh7Kq2
    $ heatfleet keys revoke 4fGh7Kq2 --store sqlite:////srv/heatfleet/fleet.db
    """
    now_ms = time.time_ns() // 1_000_000
    revoked_id = words.key_id_of(key_id)
    ring, _ = _open(store)
    with closing(ring):
        key = ring.revoke(revoked_id, now_ms, by=words.whoever_types())
        keys = ring.keys()
    revoked_at_ms = key.revoked_at_ms or now_ms
    if as_json:
        print_json(words.as_object(key, now_ms))
    elif revoked_at_ms < now_ms:
        print(f"{revoked_id} ({key.name}) was revoked on {utc(revoked_at_ms)}")
    else:
        print(f"{revoked_id} ({key.name}) is revoked: effective within 5 s in every server")
    if not any(key.state(now_ms) == "active" for key in keys):
        narrate("heatfleet: warning: no key is active now, and servers refuse everybody until one is made")


def _open(store: str | None, *, make: bool = False, writable: bool = True) -> tuple["KeyRing", str]:
    """The keys there are, and where they are; only with ``make`` their database is made if it is not there."""
    from heatfleet.config import load_settings
    from heatfleet.storage import open_key_ring

    settings = load_settings(store=store)
    if not make:
        open_key_ring(settings.ledger, writable=False).close()
    return open_key_ring(settings.ledger, writable=writable), ledger_place(settings)


def _find(keys: "Iterable[ApiKey]", key_id: str) -> ApiKey:
    for key in keys:
        if key.key_id == key_id:
            return key
    raise NotFound("there is no key with this id: `heatfleet keys list --all` shows those there are")


def _hand_over(text: str, key: ApiKey, now_ms: int, where: str, *, as_json: bool) -> None:
    """Print the key alone on stdout, and beside it what to do with it."""
    if as_json:
        print_json({"key": text} | words.as_object(key, now_ms))
    else:
        print(text, flush=True)
    narrate(f"{key.key_id} {key.rights_text}")
    narrate("The key is shown this once; only its id and a digest are kept. Send it as")
    narrate("  Authorization: Bearer heat_...            in requests over HTTP")
    narrate("  export HEATFLEET_API_KEY=heat_...         for heatfleet commands")
    narrate(f"It is kept {where}; a running server knows it within 5 s.")


def _draw(keys: "list[ApiKey]", now_ms: int) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "name", "scopes", "limits", "state", "created", "expires", "last used"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        state = key.state(now_ms)
        shown = state if key.replaced_by is None else f"{state}, replaced by {key.replaced_by}"
        times = (_day(time_ms) for time_ms in (key.created_at_ms, key.expires_at_ms, key.used_at_ms))
        style = "" if state == "active" else "dim"
        table.add_row(key.key_id, key.name, key.scopes_text, key.limits_text, shown, *times, style=style)
    console = screen()
    if not on_terminal():
        console.width = _PIPE_COLUMNS  # one line a key, for grep
    console.print(table)


def _day(time_ms: int | None) -> str:
    return "never" if time_ms is None else utc(time_ms).removesuffix(" UTC")[:-3]
