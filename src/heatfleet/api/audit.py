"""``GET /audit``: who ordered what, when, from where and with which result, and who changed keys."""

from typing import Annotated, Self
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from heatfleet.api.gate import opens_to
from heatfleet.api.handlers import once_only
from heatfleet.api.problems import problem_responses
from heatfleet.api.schemas import Instant
from heatfleet.domain.access import AuditEntry
from heatfleet.domain.commands import rfc3339
from heatfleet.domain.local_time import instant_ms
from heatfleet.domain.messages import ID_PATTERN
from heatfleet.errors import BadQuery
from heatfleet.wiring import Services

ENTRIES_MAX = 1_000

router = APIRouter(tags=["audit"], route_class=opens_to("admin"))


class AuditQuery(BaseModel):
    """Which lines of the audit trail are wanted: of some time, and of a device or a key."""

    model_config = ConfigDict(extra="forbid")

    since: str | None = Field(
        None,
        description="First instant: a date or date-time, in UTC unless it says otherwise.",
        examples=["2026-11-25"],
    )
    until: str | None = Field(None, description="The instant to stop before.", examples=["2026-11-25T18:00:00Z"])
    device_id: str | None = Field(
        None, pattern=f"^{ID_PATTERN}$", description="Orders to this device.", examples=["bfadafebb608a154206aqu"]
    )
    key_id: str | None = Field(
        None,
        pattern=f"^{ID_PATTERN}$",
        description="What was done with this key, and to it; `local` for callers that needed none, `cli` for what was "
        "typed on the server.",
        examples=["local"],
    )
    after: int = Field(0, ge=0, le=2**63 - 1, description="The `entry` of the last line read; the next ones follow.")
    limit: int = Field(100, ge=1, le=ENTRIES_MAX, description="Lines on one page.")


class AuditLine(BaseModel):
    """One line of the audit trail."""

    entry: int = Field(description="Goes up with each line; a line never changes but for the state of its order.")
    at: Instant
    actor: str = Field(description="The id of a key, `local` or `cli`.")
    address: str = Field(description="Where it came from; for `cli` whose account it was.")
    action: str = Field(description="order, key-create, key-rotate or key-revoke.")
    subject: str = Field(description="The device or key that it is about.")
    detail: str = Field(description="What exactly: on, off, or what the key may do.")
    result: str = Field(
        description="The state of the order as it is now, `repeated` if it stands for an earlier one, or the problem "
        "that it was refused with; `done` for a key."
    )
    command_id: str | None = Field(description="The order, for /commands/{command_id}.")

    @classmethod
    def of(cls, number: int, line: AuditEntry) -> Self:
        """What a caller is told of a line."""
        return cls(
            entry=number,
            at=rfc3339(line.at_ms),
            actor=line.actor.name,
            address=line.actor.address,
            action=line.action,
            subject=line.subject,
            detail=line.detail,
            result=line.result,
            command_id=line.command_id,
        )


class AuditPage(BaseModel):
    """Some lines, the oldest first; ``next`` is what to give as ``after`` for the following ones, null at the end."""

    entries: list[AuditLine]
    next: int | None


@router.get("/audit", summary="Who did what", responses=problem_responses("bad-query", "store-unavailable"))
def audit(query: Annotated[AuditQuery, Query()], request: Request, response: Response) -> AuditPage:
    """The audit trail, oldest first: each order, each refused order and each change of keys.

    Lines are only ever added. To follow them, ask again with the last `entry` read as `after`.
    """
    once_only(request, *AuditQuery.model_fields)
    if query.device_id and query.key_id:
        raise BadQuery("key_id", "key_id cannot be given with device_id")
    services: Services = request.state.services
    lines = services.ledger.audit(
        services.clock(),
        since_ms=_instant_ms("since", query.since) or 0,
        until_ms=_instant_ms("until", query.until),
        subject=query.device_id or query.key_id,
        actor=query.key_id,
        after=query.after,
        limit=query.limit + 1,
    )
    page = [AuditLine.of(number, line) for number, line in lines[: query.limit]]
    following = page[-1].entry if len(lines) > query.limit else None
    if following is not None:
        parameters = query.model_dump(exclude_none=True) | {"after": following}
        response.headers["Link"] = f'</audit?{urlencode(parameters)}>; rel="next"'
    return AuditPage(entries=page, next=following)


def _instant_ms(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else instant_ms(text)
    except ValueError as error:
        raise BadQuery(name, f"{name} {error}") from None
