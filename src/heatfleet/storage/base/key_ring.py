"""What every key ring promises."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from heatfleet.domain.access import Actor, ApiKey


class KeyRing(Protocol):
    """The API keys there are. Servers read it while the command line changes it; every change is in the audit trail.

    Every method raises ``StoreUnavailable`` when the disk or database does not let it; nothing was written then.
    """

    def keys(self) -> Sequence[ApiKey]:
        """All keys ever made, in the order they were made."""

    def version(self) -> int:
        """A number that grows when anything here is changed by anybody; cheap, to be asked every second.

        It is the same for all who ask at the same time, and known before the keys are: who reads it first, then the
        keys, misses no change.
        """

    def add(self, key: ApiKey, *, by: Actor) -> None:
        """Keep a new key. ``StoreUnavailable`` if there is one of this id or digest already, revoked or not."""

    def replace(self, key_id: str, key: ApiKey, *, expires_at_ms: int, by: Actor) -> ApiKey:
        """Keep a new key in the place of one that goes on until then, or until its own end if that comes first.

        Gives the old one as it is now: it tells by which key it was replaced. Raises ``NotFound`` for a key that is
        not there, that opens nothing any more when the new one is made, or that was replaced before.
        """

    def revoke(self, key_id: str, at_ms: int, *, by: Actor) -> ApiKey:
        """End a key from this moment; one that was revoked before stays as it is. ``NotFound`` if it is not there."""

    def note_used(self, used_at_ms: Mapping[str, int]) -> None:
        """Remember when keys were last used, by their ids; this changes neither ``version`` nor the audit trail.

        A time never goes back, and ids that are not there are passed over.
        """

    def close(self) -> None:
        """Let go of files and connections."""
