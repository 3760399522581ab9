"""The shapes on the wire, as the API's documentation shows them, and how ours become them."""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field

from heatfleet.api.problem_table import PROBLEMS, Problem
from heatfleet.api.problems import slug_of
from heatfleet.domain.commands import CommandRecord, CommandState, rfc3339
from heatfleet.domain.messages import ID_PATTERN, TIME_MIN_MS
from heatfleet.errors import BadMessage, HeatfleetError
from heatfleet.storage.base import DeviceState

KnownState = Literal["known", "silent"]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, in UTC.")]
Id = Annotated[str, Meta(pattern=f"^{ID_PATTERN}$", description="1 to 64 characters of A-Z a-z 0-9 . _ : -")]
TimeMs = Annotated[int, Meta(ge=TIME_MIN_MS, description="Milliseconds since 1970, at most 300 s ahead of now.")]


class Property(msgspec.Struct):
    """One property a device reports. Codes that are not kept may have any time and value."""

    code: Annotated[str, Meta(description="instant_power and temp_interior are kept, every other is dropped.")]
    value: Annotated[
        Any,
        Meta(description="W, a number from 0 to 100000, or °C, a number from -60 to 100."),
    ]
    time: Annotated[TimeMs | None, Meta(description="When it was so; the message's ts where missing.")] = None
    dpId: Annotated[Any, Meta(description="Ignored.")] = None  # noqa: N815  # the wire's own names


class MessageData(msgspec.Struct):
    """Who speaks, and what changed."""

    devId: Id  # noqa: N815
    productId: Id  # noqa: N815
    properties: list[Property]


class Message(msgspec.Struct):
    """What a device posts. Fields that are not named here are ignored."""

    bizCode: Literal["devicePropertyMessage"]  # noqa: N815
    bizData: MessageData  # noqa: N815
    ts: Annotated[TimeMs | None, Meta(description="The time of the properties that have none.")] = None
    dataId: Annotated[Any, Meta(description="Ignored.")] = None  # noqa: N815


class Stored(msgspec.Struct):
    """Everything is on disk. ``inserted`` counts the readings of this request."""

    status: Literal["ok"]
    inserted: Annotated[int, Meta(ge=0)]


class Rejected(msgspec.Struct):
    """A message or order of a batch that was not taken."""

    index: Annotated[int, Meta(ge=0, description="Place in the batch, from 0; blank lines do not count.")]
    type: Annotated[str, Meta(description="The problem, as in a problem document.")]
    detail: str
    pointer: Annotated[str, Meta(description="JSON pointer to the offending place of the message or order.")]

    @classmethod
    def of(cls, index: int, error: HeatfleetError) -> "Rejected":
        """What a caller is told of one message or order that was refused for this."""
        pointer = error.pointer if isinstance(error, BadMessage) else ""
        return cls(index, PROBLEMS[slug_of(error)].type, str(error), pointer)


class PartlyStored(msgspec.Struct):
    """The good messages of a batch are on disk, the others are not."""

    status: Literal["partial"]
    inserted: Annotated[int, Meta(ge=0)]
    rejected: list[Rejected]


class Order(msgspec.Struct):
    """Switch one device on (``true``) or off. Of two for one device in an array the later wins."""

    device_id: Id
    switch: bool


class Sent(msgspec.Struct):
    """The bus has accepted the order; the header ``Location`` says where its state is told."""

    status: Literal["command sent"]


class SentCommand(msgspec.Struct):
    """An order that the bus has accepted; ``/commands/{command_id}`` tells its state."""

    device_id: str
    command_id: str


class ManySent(msgspec.Struct):
    """The bus has accepted the orders in ``commands``, ``sent`` of them, and none of those in ``rejected``."""

    status: Literal["commands sent"]
    sent: Annotated[int, Meta(ge=1)]
    commands: list[SentCommand]
    rejected: list[Rejected]


class ProblemDocument(msgspec.Struct):
    """RFC 9457. ``type`` is an address on this server that explains the problem."""

    type: str
    title: str
    status: int
    detail: str
    pointer: Annotated[str, Meta(description="JSON pointer to the offending place of the body.")] | None = None
    parameter: Annotated[str, Meta(description="The offending parameter or header.")] | None = None
    rejected: list[Rejected] | None = None
    request_id: Annotated[str, Meta(description="What the log calls this request.")] | None = None


class LastOrder(BaseModel):
    """The newest order that was published to a device."""

    id: str
    switch: bool
    state: CommandState
    issued_at: Instant
    expires_at: Instant
    settled_at: Instant | None

    @classmethod
    def of(cls, record: CommandRecord) -> "LastOrder":
        """What a caller is told of an order."""
        command = record.command
        return cls(
            id=command.command_id,
            switch=command.switch,
            state=record.state,
            issued_at=rfc3339(command.issued_at_ms),
            expires_at=rfc3339(command.expires_at_ms),
            settled_at=_instant(record.settled_at_ms),
        )


class Device(BaseModel):
    """What is known of one device, as of the last rollup; ``null`` where it never told."""

    device_id: str
    product_id: str
    state: KnownState = Field(description="silent: nothing was heard for longer than the hold.")
    power_w: float | None
    power_at: Instant | None
    temperature_c: float | None
    temperature_at: Instant | None
    last_seen_at: Instant

    @classmethod
    def of(cls, device: DeviceState, *, known_after_ms: int) -> Self:
        """What a caller is told of a device; it is known if it was seen later than ``known_after_ms``."""
        return cls(
            device_id=device.device_id,
            product_id=device.product_id,
            state="known" if device.last_seen_ms > known_after_ms else "silent",
            power_w=device.power_w,
            power_at=_instant(device.power_time_ms),
            temperature_c=device.temperature_c,
            temperature_at=_instant(device.temperature_time_ms),
            last_seen_at=rfc3339(device.last_seen_ms),
        )


class DeviceWithOrder(Device):
    """One device, and the last order it was sent."""

    last_order: LastOrder | None = None


class DeviceQuery(BaseModel):
    """Which devices are wanted; every filter that is given must fit."""

    model_config = ConfigDict(extra="forbid")

    product_id: str | None = Field(None, pattern=f"^{ID_PATTERN}$", examples=["ixhko1cls7lzpwsf"])
    state: KnownState | None = None
    switched: Literal["on", "off"] | None = Field(None, description="on: the newest power is above 0 W.")
    limit: int = Field(100, ge=1, le=100, description="Devices on one page.")
    after: str | None = Field(None, description="The cursor `next` of the page before.")


class DeviceList(BaseModel):
    """A page of devices; ``next`` is the cursor to give as ``after`` for the following one, null at the end."""

    devices: list[Device]
    next: str | None


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Whether requests will be served, and if not, why."""

    status: Literal["ready", "unavailable"]
    reasons: list[str]


class ProblemOut(BaseModel):
    """One kind of refusal, explained."""

    type: str
    title: str
    status: int
    retryable: bool = Field(description="Whether the same request may succeed later, after Retry-After.")
    advice: str

    @classmethod
    def of(cls, problem: Problem) -> "ProblemOut":
        """A row of the table of problems."""
        return cls(
            type=problem.type,
            title=problem.title,
            status=problem.status,
            retryable=problem.retryable,
            advice=problem.advice,
        )


class ProblemList(BaseModel):
    """All problems there are."""

    problems: list[ProblemOut]


def _instant(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)
