"""Names of subscriptions, as they are typed."""

import pytest

from heatfleet.errors import SetupError
from heatfleet.messaging.pubsub.address import Subscribed

BUS = "pubsub://my-project/send_command"
LONG = "projects/other-project/subscriptions/readings"


def test_a_subscription_has_a_long_and_a_short_name() -> None:
    """The short one is in the project of the bus, and on the emulator of the bus where none is given."""
    near = Subscribed("my-project", "readings")

    assert "projects/my-project/subscriptions/readings" == near.path
    assert near == Subscribed.of("readings", bus=BUS)
    assert near == Subscribed.of(near.path, bus="local:")
    assert LONG == Subscribed.of(LONG, bus=BUS).path
    assert "127.0.0.1:1" == Subscribed.of("readings", bus=f"{BUS}?emulator=127.0.0.1:1").emulator
    assert "[::1]:2" == Subscribed.of("readings", bus=f"{BUS}?emulator=127.0.0.1:1", emulator="[::1]:2").emulator


@pytest.mark.parametrize(
    ("name", "bus", "emulator", "told"),
    [
        ("readings", "local:", None, "only HEATFLEET_BUS=pubsub://"),
        ("", BUS, None, "3 to 255 letters"),
        ("projects/p/topics/readings", BUS, None, "3 to 255 letters"),
        ("projects/P/subscriptions/readings", BUS, None, "projects/PROJECT/subscriptions/NAME"),
        (f"{LONG}/more", BUS, None, "projects/PROJECT/subscriptions/NAME"),
        ("goog-readings", BUS, None, "3 to 255 letters"),
        ("readings", BUS, "192.0.2.1:8085", "on this machine"),
        ("readings", BUS, "localhost", "on this machine"),
    ],
)
def test_what_is_none_is_told(name: str, bus: str, emulator: str | None, told: str) -> None:
    """With how to write it; an emulator is never another machine."""
    with pytest.raises(SetupError, match=told):
        Subscribed.of(name, bus=bus, emulator=emulator)
