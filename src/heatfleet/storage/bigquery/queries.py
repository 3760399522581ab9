"""Queries as BigQuery runs them: with a bound of bytes, a deadline and a label; Google's errors become ours."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

import google.auth.exceptions
import requests
from google.api_core import exceptions as refused
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from heatfleet.domain.cloud import JOB_PERMISSION, TABLE_PERMISSIONS, explain
from heatfleet.errors import AnotherRollup, ReportTooSlow, StoreUnavailable
from heatfleet.storage.base import Patience
from heatfleet.storage.bigquery.address import Address

Value = int | float | bool | str | datetime | None | Sequence[str]
Row = tuple[Any, ...]

LEASE_LOST = "heatfleet: the lease was lost"
_GIB = 1 << 30
_LOOK_S = 0.5
_ASK_S = 10
_TYPES: Mapping[type, str] = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING", datetime: "TIMESTAMP"}


class Kind(NamedTuple):
    """A kind of query: its label, the GiB it may cost, and the seconds it may take."""

    label: str
    gib_max: int
    timeout_s: float


QUESTION = Kind("question", 64, 30)
DEVICE = Kind("device", 4096, 30)
"""BigQuery holds a bound of bytes against whole days of readings, though of a cluster it reads, and bills, little."""
SHORT = Kind("short-question", 16, 2)
ROLLUP = Kind("rollup", 4096, 150)
REBUILD = Kind("rebuild", 1 << 20, 3600)


class Null(NamedTuple):
    """No value of a type."""

    type: str


class Queries:
    """Runs queries by one client; a bare name of a table means one of the address. Any thread may."""

    def __init__(self, client: bigquery.Client, address: Address) -> None:
        self._client = client
        self._dataset = f"{address.project}.{address.dataset}"
        self._location: str | None = None

    def run(self, text: str, kind: Kind, patience: Patience | None = None, /, **values: Value | Null) -> Sequence[Row]:
        """The rows of a statement, or of the last one of a script.

        Raises ``StoreUnavailable`` when BigQuery does not answer in time or refuses, ``ReportTooSlow`` when nobody
        waits any more, who can tell by the ``patience``.
        """
        config = bigquery.QueryJobConfig(
            default_dataset=self._dataset,
            query_parameters=[_parameter(name, value) for name, value in values.items()],
            maximum_bytes_billed=kind.gib_max * _GIB,
            labels={"heatfleet": kind.label},
        )
        retry = DEFAULT_RETRY.with_timeout(kind.timeout_s)
        with errors_as_ours(kind):
            if patience is not None:
                return self._run_while(patience, text, config, kind)
            found = self._client.query_and_wait(
                text,
                job_config=config,
                location=self._where(kind),
                api_timeout=min(kind.timeout_s, _ASK_S),  # then it is waited for what is left
                wait_timeout=max(0.0, kind.timeout_s - _ASK_S),
                retry=retry,
                job_retry=None,  # type: ignore[arg-type]  # a rollup is repeated as a whole
            )
            return [row.values() for row in found]

    def _where(self, kind: Kind) -> str | None:
        """Where the dataset lies: of a script that begins with no table BigQuery might not guess it."""
        if self._location is None:
            within_s = min(kind.timeout_s, _ASK_S)
            retry = DEFAULT_RETRY.with_timeout(within_s)
            self._location = self._client.get_dataset(self._dataset, retry=retry, timeout=within_s).location
        return self._location

    def _run_while(self, patience: Patience, text: str, config: bigquery.QueryJobConfig, kind: Kind) -> Sequence[Row]:
        patience.check()
        retry = DEFAULT_RETRY.with_timeout(kind.timeout_s)
        until_s = time.monotonic() + kind.timeout_s
        job = self._client.query(
            text, job_config=config, location=self._where(kind), retry=retry, job_retry=None, timeout=kind.timeout_s
        )
        try:
            while True:
                try:
                    return [row.values() for row in job.result(timeout=_LOOK_S, retry=retry, job_retry=None)]
                except FutureTimeout:
                    patience.check()
                    if time.monotonic() > until_s:
                        raise
        except (ReportTooSlow, FutureTimeout):
            with suppress(refused.GoogleAPICallError, requests.RequestException):
                job.cancel(timeout=_LOOK_S, retry=None)
            raise


@contextmanager
def errors_as_ours(kind: Kind = QUESTION) -> Iterator[None]:
    """Errors of Google's clients as ``StoreUnavailable``, in words for the one who has to act."""
    try:
        yield
    except refused.NotFound as error:
        msg = "a dataset or table of the store is not in BigQuery; run `heatfleet cloud init`"
        raise StoreUnavailable(msg, retry_after_s=30) from error
    except refused.GoogleAPICallError as error:
        raise _as_ours(error, kind) from error
    except (FutureTimeout, refused.RetryError, requests.Timeout) as error:
        msg = f"BigQuery did not answer within {kind.timeout_s:g} s"
        raise StoreUnavailable(msg, retry_after_s=5) from error
    except (requests.RequestException, google.auth.exceptions.GoogleAuthError) as error:
        msg = f"BigQuery cannot be reached ({type(error).__name__})"
        raise StoreUnavailable(msg, retry_after_s=5) from error


def _as_ours(error: refused.GoogleAPICallError, kind: Kind) -> StoreUnavailable:
    reasons = {str(one.get("reason", "")) for one in error.errors or () if isinstance(one, Mapping)}
    text = str(error)
    if LEASE_LOST in text:
        return AnotherRollup("another rollup is at work; this one took too long and was given up", retry_after_s=60)
    if "bytesBilledLimitExceeded" in reasons or "bytes billed" in text:
        msg = f"this would cost more than the {kind.gib_max} GiB that a query of its kind may scan; ask for less"
        return StoreUnavailable(msg, retry_after_s=3600)
    if isinstance(error, refused.TooManyRequests) or reasons & {"quotaExceeded", "rateLimitExceeded"}:
        return StoreUnavailable("a quota of BigQuery is used up", retry_after_s=60)
    if isinstance(error, refused.Forbidden | refused.Unauthorized):
        likely = JOB_PERMISSION if "jobs" in text else TABLE_PERMISSIONS[1]
        return StoreUnavailable(explain(str(error.message), doing=f"a {kind.label}", likely=likely), retry_after_s=60)
    return StoreUnavailable(f"BigQuery failed ({error.code} {type(error).__name__}): {error.message}", retry_after_s=5)


def _parameter(name: str, value: Value | Null) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
    if isinstance(value, Null):
        return bigquery.ScalarQueryParameter(name, value.type, None)
    if isinstance(value, int | float | str | datetime):
        return bigquery.ScalarQueryParameter(name, _TYPES[type(value)], value)
    return bigquery.ArrayQueryParameter(name, "STRING", list(value or ()))
