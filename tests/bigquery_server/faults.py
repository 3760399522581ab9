"""What goes wrong between a client and BigQuery, to be switched on by a test for some calls or until it is cleared."""

import threading
from dataclasses import dataclass

from google.cloud.bigquery_storage_v1.types import StorageError
from grpc import StatusCode


class Fault:
    """One thing that goes wrong with a call."""


@dataclass(frozen=True)
class Refused(Fault):
    """The call ends with this status; nothing lands. Of a stream of appends all that is under way is lost with it."""

    code: StatusCode = StatusCode.UNAVAILABLE
    message: str = "the service is unavailable"


@dataclass(frozen=True)
class AnsweredWithError(Fault):
    """Nothing lands, and the answer to the append tells of this error; the stream goes on."""

    code: StatusCode = StatusCode.RESOURCE_EXHAUSTED
    message: str = "quota exceeded"
    cause: int | None = None
    """A ``StorageError.StorageErrorCode``."""


SCHEMA_CHANGED = AnsweredWithError(
    StatusCode.INVALID_ARGUMENT,
    "Schema mismatch due to extra fields in user schema",
    StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS,
)


@dataclass(frozen=True)
class Poison(Fault):
    """Batches with a row in which some column has this text are refused whole, and those rows are named."""

    text: str


@dataclass(frozen=True)
class Silence(Fault):
    """Neither an answer nor an end, until it is cleared; then what was asked is done."""


@dataclass(frozen=True)
class AnswerLost(Fault):
    """What was asked is done, and the answer never comes; with a code the call ends with that instead of silence."""

    code: StatusCode | None = None


@dataclass(frozen=True)
class Slow(Fault):
    """What was asked is done so much later, and answered."""

    delay_s: float = 0.2


@dataclass(frozen=True)
class Reset(Fault):
    """All connections of the client are cut; nothing lands."""


@dataclass(frozen=True)
class HttpError(Fault):
    """An answer of the REST API: ``HttpError()`` is a 503, ``HttpError(403, "quotaExceeded")`` a quota used up."""

    status: int = 503
    reason: str = "backendError"


class Switch:
    """The fault that calls meet."""

    def __init__(self) -> None:
        self.met = 0
        """Calls that met a fault."""
        self._fault: Fault | None = None
        self._left: int | None = None
        self._where = ""
        self._lock = threading.Lock()
        self._cleared = threading.Event()

    def set(self, fault: Fault, times: int | None = None, *, where: str = "") -> None:
        """From now on calls meet this fault: the next ``times``, or all until it is cleared.

        With ``where`` only those that speak of this: of a stream of appends its name, of a REST request its method, its
        path and its body.
        """
        self.clear()
        with self._lock:
            self._fault, self._left, self._where, self._cleared = fault, times, where, threading.Event()

    def clear(self) -> None:
        """No call meets a fault any more, and who waits in one goes on."""
        with self._lock:
            self._fault = None
            self._cleared.set()

    def take(self, subject: str) -> Fault | None:
        """The fault that a call of this subject meets now."""
        with self._lock:
            fault = self._fault if self._where in subject else None
            if fault is not None:
                self.met += 1
                if self._left is not None:
                    self._left -= 1
                    self._fault = fault if self._left else None
            return fault

    def wait(self, timeout_s: float) -> bool:
        """Wait until the fault is cleared; whether it was."""
        return self._cleared.wait(timeout_s)
