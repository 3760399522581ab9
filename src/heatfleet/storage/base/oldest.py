"""How old a reading may be to be taken: younger than the age at which days are removed, and than what was removed."""

from collections.abc import Callable
from contextlib import suppress

from heatfleet.domain.messages import TIME_MIN_MS
from heatfleet.domain.slots import DAY_MS
from heatfleet.errors import StoreUnavailable


class Oldest:
    """The instant before which a server refuses readings. It does not go back with a clock that is set a little."""

    def __init__(self, retention_days: int, kept_from_ms: Callable[[], int]) -> None:
        """``kept_from_ms`` gives midnight of the first day whose readings are kept."""
        self._age_ms = retention_days * DAY_MS
        self._kept_from_ms = kept_from_ms
        self._oldest_ms = TIME_MIN_MS
        self._seen_ms = 0

    def look(self) -> None:
        """Find out what was removed."""
        self._oldest_ms = max(TIME_MIN_MS, self._kept_from_ms() + DAY_MS)

    def at(self, now_ms: int) -> int:
        """The instant, by the clock of a server."""
        if self._age_ms:
            if now_ms < self._seen_ms - DAY_MS:
                # A clock that was years ahead is right again: what was too old by it may be new.
                with suppress(StoreUnavailable):
                    self.look()
            self._seen_ms = now_ms
            self._oldest_ms = max(self._oldest_ms, now_ms - self._age_ms)
        return self._oldest_ms
