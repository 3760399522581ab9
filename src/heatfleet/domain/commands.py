"""An order to one heater, and the life it has."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

CommandState = Literal["accepted", "published", "failed", "expired", "superseded"]
"""accepted: written down. published: the bus has it. failed: the bus did not take it, it is not sent. expired: its
time is over. superseded: a newer order for the same device was published before it ran out."""


@dataclass(frozen=True, slots=True)
class Command:
    """Switch one device on or off. ``product_id`` is what the device was last heard as, ``None`` if never heard."""

    command_id: str
    device_id: str
    product_id: str | None
    switch: bool
    issued_at_ms: int
    expires_at_ms: int

    def message(self) -> dict[str, str | bool]:
        """What a device reads on the topic ``send_command``."""
        return {"devId": self.device_id, "switch": self.switch}

    def attributes(self) -> dict[str, str]:
        """The attributes that travel beside the message; times in RFC 3339."""
        return {
            "command_id": self.command_id,
            "issued_at": rfc3339(self.issued_at_ms),
            "expires_at": rfc3339(self.expires_at_ms),
        }


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command, where it stands, and its place in the order of publication (``sequence``, 0 if never published).

    ``settled_at_ms`` is when it became published or failed, ``None`` before.
    """

    command: Command
    state: CommandState
    sequence: int
    settled_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Audience:
    """Whose orders somebody listens to: those of the devices named, or with ``product_id`` of a whole product."""

    device_ids: frozenset[str] = frozenset()
    product_id: str | None = None

    def includes(self, command: Command) -> bool:
        """Whether this order is for the audience."""
        if self.product_id is not None:
            return command.product_id == self.product_id
        return command.device_id in self.device_ids


def rfc3339(time_ms: int) -> str:
    """An instant as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
