"""What people write about API keys and what they are told of them: scopes, names, times, and what to look after."""

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import typer

from heatfleet.cli.terminal import utc
from heatfleet.domain.access import CLI, SCOPES, Actor, ApiKey, Scope, id_in
from heatfleet.domain.messages import ID_RULE, is_id

NAME_CHARS_MAX = 64
_YEAR_MS = 365 * 86_400_000
_FAR_MS = 100 * _YEAR_MS
SOON_MS = 14 * 86_400_000
"""A key that ends sooner is worth a word."""
_NOTED_LATE_MS = 120_000
"""When a key was last used is known to about a minute."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_matches_duration = re.compile(r"([0-9]{1,5})([mhdw])").fullmatch


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes, each given on its own or with commas between them."""
    given = [word for text in words for word in text.replace(",", " ").split()]
    if not given:
        raise typer.BadParameter(f"--scope: say what the key is for: {', '.join(SCOPES)}")
    if not set(given) <= set(SCOPES):
        raise typer.BadParameter(f"--scope: there are these: {', '.join(SCOPES)}")
    return frozenset(cast("list[Scope]", given))


def name_of(text: str) -> str:
    """What people call the key: one line that can be shown anywhere."""
    name = text.strip()
    if not name.isprintable() or not 0 < len(name) <= NAME_CHARS_MAX:
        raise typer.BadParameter(f"--name: write 1 to {NAME_CHARS_MAX} visible characters that say who has the key")
    return name


def prefix_of(option: str, text: str | None) -> str:
    """How the ids begin of what the key is for; empty for all."""
    if text is None:
        return ""
    if not is_id(text):
        raise typer.BadParameter(f"{option}: the beginning of an id has {ID_RULE}, without a *")
    return text


def duration_ms(option: str, text: str) -> int:
    """A length of time such as ``12h``, ``7d`` or ``2w``."""
    found = _matches_duration("0d" if text == "0" else text)
    if found is None:
        raise typer.BadParameter(f"{option}: write a number and m, h, d or w, such as 12h, 7d or 2w")
    return round(timedelta(**{_UNITS[found[2]]: int(found[1])}).total_seconds() * 1000)


def end_of(text: str, now_ms: int) -> int:
    """When a key expires: a length of time from now, or a date or date-time in UTC unless it says otherwise."""
    if _matches_duration(text):
        end_ms = now_ms + duration_ms("--expires", text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter("--expires: write 90d, 12h, 2027-01-01 or 2027-01-01T18:00") from None
        end_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if not now_ms < end_ms <= now_ms + _FAR_MS:
        raise typer.BadParameter("--expires: this is not within the next hundred years; leave it out for never")
    return end_ms


def key_id_of(text: str) -> str:
    """The id of a key, also out of a whole one that was pasted; neither is repeated."""
    key_id = id_in(text.strip())
    if key_id is None:
        raise typer.BadParameter("KEY_ID: write the 8 characters that `heatfleet keys list` shows")
    return key_id


def whoever_types() -> Actor:
    """For the audit trail: the account that the system tells, and the one that ``sudo`` says is behind it."""
    account, behind = _account(os.getuid()), os.environ.get("SUDO_UID", "")
    return Actor(CLI, f"{account} (sudo by {_account(int(behind))})" if re.fullmatch("[0-9]{1,9}", behind) else account)


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def as_object(key: ApiKey, now_ms: int) -> dict[str, Any]:
    """All that is known of a key, but for its digest."""
    told = asdict(key) | key.bounds._asdict() | {"scopes": key.scopes_text.split(), "state": key.state(now_ms)}
    del told["digest"], told["bounds"]
    return told


def to_look_after(keys: Sequence[ApiKey], now_ms: int) -> Iterator[tuple[str, str]]:
    """What will surprise somebody, key by key, and what to do: keys that end soon, old ones, replaced ones in use."""
    made_ms = {key.key_id: key.created_at_ms for key in keys}
    for key in keys:
        who, again = f"{key.key_id} ({key.name})", f"`heatfleet keys rotate {key.key_id}` makes a new one"
        if key.state(now_ms) != "active":
            continue
        if key.replaced_by is not None:
            used_since = (key.used_at_ms or 0) > made_ms.get(key.replaced_by, now_ms) + _NOTED_LATE_MS
            if used_since:
                yield f"{who} was replaced by {key.replaced_by} and is still used", _ending(key, "give out the new one")
        elif key.expires_at_ms is not None and key.expires_at_ms - now_ms < SOON_MS:
            yield f"{who} ends on {utc(key.expires_at_ms)}", again
        elif now_ms - key.created_at_ms > _YEAR_MS:
            yield f"{who} is {(now_ms - key.created_at_ms) // 86_400_000} days old", again


def _ending(key: ApiKey, what: str) -> str:
    return what if key.expires_at_ms is None else f"{what} before {utc(key.expires_at_ms)}"
