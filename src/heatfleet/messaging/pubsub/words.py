"""What Pub/Sub says, as something to do."""

from grpc import StatusCode

RETRIED = frozenset(
    {
        StatusCode.ABORTED,
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.INTERNAL,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
        StatusCode.UNKNOWN,
    }
)
"""What may go by; of anything else an equal request would hear the same."""

NO_SUBSCRIPTION = "the Pub/Sub topic has no subscription, so orders reach nobody; create one, or heatfleet cloud init"

_WORDS = {
    StatusCode.NOT_FOUND: "the Pub/Sub topic does not exist; create it, or correct HEATFLEET_BUS",
    StatusCode.PERMISSION_DENIED: "the service may not publish to the Pub/Sub topic; grant its account "
    "roles/pubsub.publisher there",
    StatusCode.UNAUTHENTICATED: "Pub/Sub does not accept the service's Google credentials; renew them",
}


def trouble_of(code: StatusCode) -> str:
    """What is wrong, and what to do about it, when Pub/Sub answers with this status; it names nothing of the caller."""
    return _WORDS.get(code, f"Pub/Sub answered {code.name}; the log has its words")
