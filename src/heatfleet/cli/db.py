"""``heatfleet db``: make the database ahead of time, look at it, copy it and check it."""

import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit

import typer

from heatfleet.cli.exits import ExitCode
from heatfleet.cli.help import Command, Group
from heatfleet.cli.terminal import bytes_text, narrate, print_json, screen, utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heatfleet.config import Settings
    from heatfleet.storage.base import FileCheck

StoreUrl = Annotated[str | None, typer.Option("--store", help="URL of the store; HEATFLEET_STORE otherwise.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def commands() -> typer.Typer:
    """``heatfleet db`` and what it can do."""
    app = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")
    app.callback()(_db)
    app.command(cls=Command)(init)
    app.command(cls=Command)(info)
    app.command(cls=Command)(backup)
    app.command(cls=Command)(check)
    return app


def _db() -> None:
    """Make the database ahead of time, look at it, copy it and check it.

    Examples:
    $ heatfleet db info
    $ heatfleet db backup /backup/2026-11-25
    """


def init(*, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Make the database, or bring an older one up to date; `heatfleet serve` does this by itself too.

    Examples:
    $ heatfleet db init
    $ heatfleet db init --store sqlite:////srv/heatfleet/fleet.db
    """
    from heatfleet.config import load_settings
    from heatfleet.storage import open_ledger, open_store

    settings = load_settings(store=store)
    with closing(open_store(settings.store, hold_ms=settings.max_hold_s * 1000)) as made:
        made.check()  # a server may start while BigQuery is away; nobody is told here that all is ready
    open_ledger(settings.ledger).close()
    files = {}
    if settings.store.startswith("sqlite:"):
        main = store_path(settings)
        files = {"database": str(main), "folder": f"{main}.d"}
    if as_json:
        more = {"db": settings.ledger_shown} if settings.db else {}
        print_json({"store": settings.store} | files | more)
        return
    print(f"ready: {main} and, beside it, {main}.d/" if files else f"ready: {settings.store}")
    if settings.db:
        print(f"ready: {settings.ledger_shown}, for orders and keys")


def info(*, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Tell how large the database is, how many heaters it knows and how fresh its figures are.

    Examples:
    $ heatfleet db info
    $ heatfleet db info --store sqlite:////srv/heatfleet/fleet.db --json
    """
    from heatfleet.config import load_settings
    from heatfleet.storage import open_store

    settings = load_settings(store=store)
    opened = open_store(settings.store, hold_ms=settings.max_hold_s * 1000, writable=False)
    try:
        status = opened.status(time.time_ns() // 1_000_000)
    finally:
        opened.close()
    sizes = {str(path): path.stat().st_size for path in store_files(settings)}
    if as_json:
        print_json(
            {
                "store": settings.store,
                "devices": status.devices,
                "as_of_ms": status.as_of_ms,
                "lag_ms": status.lag_ms,
                "kept_from_ms": status.kept_from_ms,
                "bytes": sum(sizes.values()),
                "files": sizes,
            }
        )
        return
    print(f"store      {settings.store}")
    print(f"heaters    {status.devices:,}")
    print(f"figures    {f'up to {utc(status.as_of_ms)}' if status.as_of_ms else 'none yet: no rollup has run'}")
    print(f"waiting    {f'{status.lag_ms / 1000:.0f} s behind' if status.lag_ms else 'nothing'}")
    print(f"readings   {f'kept since {utc(status.kept_from_ms)}' if status.kept_from_ms else 'all kept'}")
    if settings.db:
        print(f"orders     in {settings.ledger_shown}")
    if sizes:
        print(f"size       {bytes_text(sum(sizes.values()))}")
    for kind, (count, size) in _by_kind(sizes).items():
        print(f"           {bytes_text(size):>9}  {kind}{f' ({count} files)' if count > 1 else ''}")


def backup(
    folder: Annotated[Path, typer.Argument(help="Where the copy is made: a folder that is new or empty.")],
    *,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole database to a folder, also while the server runs: it goes on as if nothing was.

    Examples:
    $ heatfleet db backup /backup/2026-11-25
    $ heatfleet db backup /backup/2026-11-25 --store sqlite:////srv/heatfleet/fleet.db --json

    The folder is there once the copy is whole, and not before. It is a database like the one it was made of: to
    restore, let HEATFLEET_STORE name it, or put it in the place of the other.
    """
    from heatfleet.config import load_settings
    from heatfleet.storage import back_up

    settings = load_settings(store=store)
    try:
        done = back_up(settings.store, folder)
    except KeyboardInterrupt:
        narrate("heatfleet: interrupted; nothing is left of this backup")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    for name in done.left_out:
        narrate(f"heatfleet: warning: {name} was left out: it is none of the store's files")
    if settings.db:
        narrate(f"heatfleet: warning: orders, keys and the audit trail are not in this copy: {_to_copy(settings)}")
    size = sum(done.files.values())
    url = f"sqlite:///{quote(str(done.main))}"
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "store": url,
                "seconds": round(done.duration_s, 3),
                "bytes": size,
                "files": dict(done.files),
                "left_out": list(done.left_out),
            }
        )
        return
    files = "1 file" if len(done.files) == 1 else f"{len(done.files):,} files"
    print(f"copied {files}, {bytes_text(size)}, to {done.folder} in {done.duration_s:.1f} s")
    for kind, (count, kind_size) in _by_kind(dict(done.files)).items():
        print(f"       {bytes_text(kind_size):>9}  {kind}{f' ({count} files)' if count > 1 else ''}")
    print(f"to use it: HEATFLEET_STORE={url}")


def check(
    *,
    store: StoreUrl = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look at the structure of files alone.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Make all figures again in a copy, and compare; takes as much room again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of all that was looked at.")] = False,
) -> None:
    """Look at every file of the database for damage, also while the server runs, and say what to do.

    Examples:
    $ heatfleet db check
    $ heatfleet db check --store sqlite:////backup/2026-11-25/heatfleet.db --figures

    Exit code 1 tells that something is damaged or missing.
    """
    from dataclasses import asdict

    from heatfleet.config import load_settings

    settings = load_settings(store=store)
    checks = []
    console = screen()
    for one in _checked(settings, quick=quick, figures=figures):
        checks.append(one)
        if not as_json:
            console.print("ok   " if one.sound else "fail ", style="green" if one.sound else "bold red", end="")
            console.print(f"{one.name}  {one.found}", soft_wrap=True)
            if one.fix:
                console.print(f"     → {one.fix}", soft_wrap=True)
    if as_json:
        print_json([asdict(one) for one in checks])
    if not all(one.sound for one in checks):
        raise typer.Exit(ExitCode.FAILURE)


def _checked(settings: "Settings", *, quick: bool, figures: bool) -> "Iterator[FileCheck]":
    from heatfleet.storage import check_files, check_postgresql

    yield from check_files(settings.store, quick=quick, figures=figures, ledger=settings.ledger == settings.store)
    if is_postgresql(settings):
        yield check_postgresql(settings.ledger)


def _to_copy(settings: "Settings") -> str:
    """What to do for a copy of orders and keys, where they are not among the store's files."""
    if is_postgresql(settings):
        return f"they are in PostgreSQL, so let pg_dump --format=custom copy {settings.ledger_shown}"
    return f"they are {ledger_place(settings)}, so copy that too: sqlite3 FILE '.backup COPY'"


def is_postgresql(settings: "Settings") -> bool:
    """Whether orders and keys are in PostgreSQL."""
    return settings.ledger.startswith("postgresql:")


def ledger_place(settings: "Settings") -> str:
    """Where orders and keys are, for people: ``beside`` a file, or ``in`` a database."""
    if is_postgresql(settings):
        return f"in {settings.ledger_shown}"
    return f"beside {Path(urlsplit(settings.ledger).path.removeprefix('/')).absolute()}"


def _by_kind(sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    """How many files there are of each kind, and their bytes: ``readings-2026-11-23.db`` is of kind ``readings``.

    Parquet files are ``archived``.
    """
    kinds: dict[str, tuple[int, int]] = {}
    for path, size in sizes.items():
        kind = "archived" if ".parquet" in Path(path).name else re.split(r"[-.]", Path(path).name)[0]
        count, before = kinds.get(kind, (0, 0))
        kinds[kind] = (count + path.endswith((".db", ".parquet")), before + size)
    return {kind: found for kind, found in kinds.items() if found[0]}


def store_path(settings: "Settings") -> Path:
    """The main file of the store, whose URL the store itself has judged or will judge."""
    return Path(urlsplit(settings.store).path.removeprefix("/"))


def store_files(settings: "Settings") -> list[Path]:
    """The files there are of a store: the main one, and those in the folder beside it; none of BigQuery."""
    if not settings.store.startswith("sqlite:"):
        return []
    main = store_path(settings)
    return sorted(path for path in (*main.parent.glob(f"{main.name}*"), *Path(f"{main}.d").glob("*")) if path.is_file())
