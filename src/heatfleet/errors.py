"""Every error Heatfleet raises on purpose: what happened, which one, what to do, and whether to try again.

HeatfleetError
 ├── BadMessage            a device message that cannot become readings      the sender mends it
 ├── BadQuery              a request parameter that has no meaning           the caller mends it
 ├── NotFound              a device or command nobody has heard of           the caller mends it
 ├── KeyReused             an Idempotency-Key with another request           the caller mends it
 ├── NotAllowed            who calls has no key for this, or calls from afar the operator gives one
 ├── Refused               try again later, after ``retry_after_s``
 │    ├── Overloaded         the queue of unwritten readings is full
 │    ├── TooMany            this caller has had its share
 │    ├── StoreUnavailable   the disk or database did not take or give data
 │    │    ├── StorageFull        the disk has no room
 │    │    └── AnotherRollup      somebody else makes the figures just now
 │    ├── ReportTooSlow      a report was not reckoned in the time it may take
 │    ├── TokensUnverified   whether a push's token is good cannot be told now
 │    └── BusUnavailable     the message bus did not accept an order in time
 └── SetupError            settings, files or versions that do not fit       the operator mends it
"""


class HeatfleetError(Exception):
    """Base of all errors raised on purpose; the message is written for the person who has to act on it."""


class BadMessage(HeatfleetError):
    """A device message that is refused as a whole.

    ``kind`` is the problem's stable name (``broken-json``, ``too-large``, ``foreign-biz-code``, ``bad-field``,
    ``bad-id``, ``bad-value``, ``bad-time``, ``too-old``, ``foreign-device``), ``pointer`` the JSON pointer (RFC 6901)
    to the offending place. The text never repeats what was sent: it may be a secret or a script.
    """

    def __init__(self, kind: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.pointer = pointer


class BadQuery(HeatfleetError):
    """A request parameter that cannot be answered; ``parameter`` names it."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter
        self.detail = detail


class NotFound(HeatfleetError):
    """A device or command that was never heard of."""


class KeyReused(HeatfleetError):
    """An Idempotency-Key that was used before for another request; nothing was sent."""


class NotAllowed(HeatfleetError):
    """Not for this caller. ``kind`` is the problem's stable name; the text never repeats a key.

    ``needs-key``, ``bad-key``, ``missing-scope``, ``bound-key``, ``foreign-host``, ``cross-site``, ``push-off`` or
    ``bad-token``.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        asks = kind in ("needs-key", "bad-key", "bad-token")
        self.headers = {"WWW-Authenticate": 'Bearer realm="heatfleet"'} if asks else None


class Refused(HeatfleetError):
    """Not now: nothing was stored or sent, and the same request may be tried again after ``retry_after_s``."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Overloaded(Refused):
    """More readings wait to be written than the configured bound."""


class TooMany(Refused):
    """This caller has had its share for now; others are served."""


class StoreUnavailable(Refused):
    """The store could not take or give data: a full disk, a locked or unreadable file."""


class ReportTooSlow(Refused):
    """A report was not reckoned in the time it may take, or nobody waits for it any more; it was given up."""


class TokensUnverified(Refused):
    """Whether the token of a push is good cannot be told now: the keys that sign such tokens cannot be fetched."""


class StorageFull(StoreUnavailable):
    """The disk has no room; once there is some, the same request succeeds, without a restart."""


class AnotherRollup(StoreUnavailable):
    """Somebody else makes the figures just now; there is nothing to do but to wait for them."""


class BusUnavailable(Refused):
    """The message bus did not accept the order before the deadline; it will not be sent later either."""


class SetupError(HeatfleetError):
    """A setting, file or schema version that does not fit; the process should not start (exit code 78)."""
