"""Every refusal of the API in one table: the error, its status, its name, and what to do about it.

The ``type`` of a problem document is ``/problems/<slug>``, which the server itself explains.
"""

from dataclasses import dataclass

from heatfleet import errors
from heatfleet.errors import BadQuery, HeatfleetError


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal. ``error`` is the exception that becomes it; ``BadMessage`` names its slug itself."""

    slug: str
    status: int
    title: str
    advice: str
    retryable: bool = False
    error: type[HeatfleetError] | None = None

    @property
    def type(self) -> str:
        """The URI reference that names the problem and leads to its explanation."""
        return f"/problems/{self.slug}"


TABLE = (
    Problem(
        "broken-json",
        400,
        "Not JSON",
        "Send JSON as RFC 8259 has it, in UTF-8: no NaN, no comments, nothing after the end, at most "
        "64 objects and arrays within each other.",
    ),
    Problem(
        "broken-encoding",
        400,
        "The compressed body cannot be read",
        "Compress the body as Content-Encoding says, and send it to its end.",
    ),
    Problem(
        "foreign-biz-code",
        400,
        "Another kind of message",
        'Only messages with bizCode "devicePropertyMessage" are taken; do not forward the others.',
    ),
    Problem("bad-field", 422, "A field is missing or has the wrong type", "Mend the field at `pointer`."),
    Problem("bad-id", 422, "Not an id", "Ids of devices and products are 1 to 64 characters of A-Z a-z 0-9 . _ : -"),
    Problem(
        "bad-value",
        422,
        "A value is no number, or out of range",
        "instant_power is a number from 0 to 100000 (W), temp_interior one from -60 to 100 (°C).",
    ),
    Problem(
        "bad-time",
        422,
        "A time is missing or out of range",
        "Times are whole milliseconds since 1970, from 2000-01-01 to 300 s after the server's clock.",
    ),
    Problem(
        "too-old",
        422,
        "A reading is older than what is kept",
        "Readings are kept for HEATFLEET_RETENTION_DAYS; an older one can no longer be counted. Do not send it again.",
    ),
    Problem(
        "all-rejected",
        422,
        "Nothing of the batch can be taken",
        "Nothing was stored or sent. `rejected` names what is wrong with each message or order, by its index in the "
        "batch.",
    ),
    Problem(
        "partly-rejected",
        422,
        "Part of a pushed batch cannot be taken",
        "The good messages are stored; `rejected` names the others by their index. Pub/Sub sends the same again until "
        "its dead-letter topic takes it; the good ones count once.",
    ),
    Problem(
        "too-large",
        413,
        "Too large",
        "One message may have 256 KiB, a batch 8 MiB and 10000 messages, unpacked; POST /send 256 KiB and 1000 orders; "
        "other bodies 64 KiB. Send it in parts.",
    ),
    Problem(
        "unsupported-type",
        415,
        "Content-Type not taken",
        "Set the header Content-Type: application/json, or application/x-ndjson for one message per line "
        "(curl: -H 'Content-Type: application/json').",
    ),
    Problem(
        "unsupported-encoding",
        415,
        "Content-Encoding not taken",
        "Send the body as it is, or with Content-Encoding: gzip or zstd.",
    ),
    Problem(
        "bad-query",
        422,
        "A parameter has no meaning here",
        "Mend the parameter that `parameter` names, or leave it out.",
        error=BadQuery,
    ),
    Problem(
        "not-found",
        404,
        "Never heard of",
        "Nothing is known by this id. A device is known one rollup after its first message.",
        error=errors.NotFound,
    ),
    Problem(
        "needs-key",
        401,
        "An API key is needed",
        "Send one in the header Authorization: Bearer heat_... Who runs the server makes it: `heatfleet keys create`.",
    ),
    Problem(
        "bad-key",
        401,
        "Not a key that is good here",
        "Check that the whole key was copied. One that has expired or was revoked is replaced by a new one.",
    ),
    Problem(
        "missing-scope",
        403,
        "The key is not made for this",
        "Ask for a key with the scope that `detail` names; the scopes of a key never change.",
    ),
    Problem(
        "bound-key",
        403,
        "The key is for some devices only",
        "Name a device, or a product, that the key is for.",
    ),
    Problem(
        "foreign-device",
        403,
        "The device is not one of this key's",
        "Send messages of the devices that the key was made for, or ask for a key for this one.",
    ),
    Problem(
        "foreign-host",
        421,
        "Not a name of this server",
        "Use a name or address that the server knows as its own; HEATFLEET_ALLOWED_HOSTS adds to them.",
    ),
    Problem(
        "cross-site",
        403,
        "A page of another site has sent this",
        "Without keys only programs and pages of this machine are served. With a key it does not matter.",
    ),
    Problem(
        "push-off",
        403,
        "Nothing is pushed here",
        "Set HEATFLEET_PUSH_AUDIENCE and HEATFLEET_PUSH_ACCOUNT to those of the push subscription, and start again.",
    ),
    Problem(
        "bad-token",
        401,
        "Not a token of the push subscription's",
        "Let the subscription push with a token (OIDC) of the service account HEATFLEET_PUSH_ACCOUNT for the audience "
        "HEATFLEET_PUSH_AUDIENCE. API keys open nothing here.",
    ),
    Problem(
        "token-unverified",
        503,
        "The token cannot be verified now",
        "Nothing was stored. The server cannot fetch Google's certificates; the log tells why. Send the same again "
        "after Retry-After seconds.",
        retryable=True,
        error=errors.TokensUnverified,
    ),
    Problem(
        "over-limit",
        429,
        "More than this caller's share",
        "Nothing was stored or sent. Send the same again after Retry-After seconds; a key may have a higher limit.",
        retryable=True,
        error=errors.TooMany,
    ),
    Problem(
        "malformed-request",
        400,
        "Not HTTP",
        "Send HTTP/1.1 as RFC 9112 has it: one length for a body, fields without line breaks. "
        "HTTPS and HTTP/2 need a proxy in front.",
    ),
    Problem(
        "bad-host",
        400,
        "No host, or more than one",
        "Send the header Host once, with a host name or address and a port.",
    ),
    Problem(
        "head-too-large", 431, "Head too large", "The request line and all headers may have 16 KiB and 100 fields."
    ),
    Problem(
        "too-slow",
        408,
        "Too slow",
        "Nothing was stored. A head must arrive within 10 s, a body within 30 s and another second for each 16 KiB.",
    ),
    Problem("no-such-path", 404, "No such path", "See /docs for the paths there are."),
    Problem("method-not-allowed", 405, "Method not allowed", "The header Allow names the ones there are."),
    Problem(
        "key-reused",
        422,
        "The Idempotency-Key belongs to another request",
        "Nothing was sent. Use a new key for a new order.",
        error=errors.KeyReused,
    ),
    Problem(
        "overloaded",
        503,
        "Too much at once",
        "Nothing was stored. Send the same again after Retry-After seconds.",
        retryable=True,
        error=errors.Overloaded,
    ),
    Problem(  # before the error that it is a kind of
        "storage-full",
        503,
        "The disk is full",
        "Nothing was stored. The operator has to make room; send the same again after Retry-After seconds.",
        retryable=True,
        error=errors.StorageFull,
    ),
    Problem(
        "store-unavailable",
        503,
        "The store does not answer",
        "Nothing was stored. Send the same again after Retry-After seconds, which does no harm to an order that the "
        "bus had already; the log and /readyz tell why.",
        retryable=True,
        error=errors.StoreUnavailable,
    ),
    Problem(
        "report-too-slow",
        503,
        "The report took too long",
        "A report may take HEATFLEET_REPORT_TIMEOUT_S, waiting for its turn included. Ask for a shorter range or for "
        "whole days, or again after Retry-After seconds.",
        retryable=True,
        error=errors.ReportTooSlow,
    ),
    Problem(
        "bus-unavailable",
        503,
        "The bus did not take the order",
        "The order counts as failed. A bus that answered too late may still deliver it; sending it again after "
        "Retry-After seconds does no harm.",
        retryable=True,
        error=errors.BusUnavailable,
    ),
    Problem(
        "internal",
        500,
        "A defect of the server",
        "Please report it with the `request_id`, under which the log has the details.",
    ),
)
PROBLEMS = {problem.slug: problem for problem in TABLE}
