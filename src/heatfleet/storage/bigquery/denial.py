"""What Google says when it denies or cannot, in words for the person who has to act on it."""

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, RefreshError

from heatfleet.domain.cloud import explain
from heatfleet.errors import HeatfleetError, SetupError, StoreUnavailable

FAILURES = (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException)
"""Everything that Google's client of BigQuery raises on purpose."""


def denial(error: Exception, *, doing: str, likely: str) -> HeatfleetError:
    """``SetupError`` with what to do where that helps, else ``StoreUnavailable``.

    ``likely`` is the permission that this takes, for when Google names none.
    """
    message = str(getattr(error, "message", error))
    if isinstance(error, exceptions.Forbidden):
        reasons = {one.get("reason") for one in error.errors if isinstance(one, dict)}
        if reasons & {"quotaExceeded", "rateLimitExceeded"}:
            return StoreUnavailable(f"{doing}: a quota of BigQuery is used up", 60)
        return SetupError(explain(message, doing=doing, likely=likely))
    if isinstance(error, exceptions.Unauthorized | RefreshError):
        return SetupError(f"{doing}: Google does not take the credentials; gcloud auth application-default login")
    if isinstance(error, exceptions.NotFound):
        return SetupError(f"{doing}: it is not there, or the project is not; run `heatfleet cloud init`")
    if isinstance(error, exceptions.BadRequest):
        return SetupError(f"{doing}: BigQuery does not take it: {message}")
    return StoreUnavailable(f"{doing}: BigQuery cannot be reached ({type(error).__name__})", 5)
