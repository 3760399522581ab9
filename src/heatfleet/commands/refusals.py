"""Orders that were refused, on their way into the audit trail: nobody waits for it, and it fails nobody."""

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from heatfleet.domain.access import AuditEntry
from heatfleet.errors import HeatfleetError

NOTES_PER_MIN = 60
"""Of one actor; what is above is only counted, as refused orders could fill the disk for ever."""
NOTES_MAX = 1_000
"""Refused orders that may wait to be noted; it takes the disk one sync to note them all."""

log = structlog.get_logger(__name__)


class Refusals:
    """What waits to be noted. ``write`` is called by a thread of ``executor``, and may raise ``HeatfleetError``.

    It is tried once; and while the disk does not keep up, what is above ``NOTES_MAX`` is only counted, and told to the
    log. However many are refused, one write at a time stands between the orders that are not.
    """

    def __init__(self, executor: Executor, write: Callable[..., None]) -> None:
        self._executor = executor
        self._write = write
        self._waiting: deque[AuditEntry] = deque()
        self._noted: Counter[str] = Counter()
        self._minute = 0
        self._dropped = 0
        self._under_way = False

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, entry: AuditEntry) -> None:
        """Have it written, soon; called on the event loop."""
        if entry.at_ms // 60_000 != self._minute:
            self._noted.clear()
            self._minute = entry.at_ms // 60_000
        self._noted[entry.actor.name] += 1
        if len(self._waiting) >= NOTES_MAX or self._noted[entry.actor.name] > NOTES_PER_MIN:
            self._dropped += 1
            return
        self._waiting.append(entry)
        if not self._under_way:
            self._under_way = True
            with suppress(RuntimeError):  # the executor is closed
                self._executor.submit(self._write_all)

    def _write_all(self) -> None:
        self._under_way = False  # first: what comes from now on is either taken here or brings another call
        entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("refused orders are not in the audit trail", orders=dropped, reason="too many at once")
        try:
            self._write(*entries)
        except HeatfleetError as error:
            log.warning("refused orders are not in the audit trail", orders=len(entries), reason=str(error))
