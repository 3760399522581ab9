"""What carries orders to the devices. ``open_bus`` chooses it by URL."""

from heatfleet.errors import SetupError
from heatfleet.messaging.base import Bus, PushTokens

BUSES = ("local:",)
"""How the URL of each bus that exists begins."""


def open_bus(url: str) -> Bus:
    """Open the bus that the URL names; ``SetupError``, which names those that exist, for any other.

    ``local:`` carries orders to the devices that listen to this very server.
    """
    if url != "local:":
        raise SetupError(f"HEATFLEET_BUS: there is no such bus; these exist: {', '.join(BUSES)}")
    # Imported only when asked for: a bus's library need not be there for the others to work.
    from heatfleet.messaging.in_process import InProcessBus  # noqa: PLC0415

    return InProcessBus()


def open_push_tokens(*, audience: str, account: str) -> PushTokens | None:
    """What judges the tokens of Pub/Sub's pushes; ``None`` when neither is given: then nothing is pushed.

    ``SetupError`` if only one is given, or the library is not installed.
    """
    if not audience and not account:
        return None
    if not audience or not account:
        raise SetupError("HEATFLEET_PUSH_AUDIENCE and HEATFLEET_PUSH_ACCOUNT: set both, or none")
    try:
        from heatfleet.messaging.pubsub_tokens import GoogleTokens  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SetupError(
            'HEATFLEET_PUSH_AUDIENCE: Google\'s libraries are not installed; pip install "heatfleet[google]"'
        ) from error
    return GoogleTokens(audience=audience, account=account)
