"""Every bus keeps the promises of ``messaging.base.Bus``."""

from dataclasses import replace

import pytest

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable, SetupError
from heatfleet.messaging import open_bus

# The table of backends: a name, and its address. What arrives at a broker is for a broker's row to add; from `local:`
# the orders are read by server-sent events (tests/api/test_send_stream.py).
BUSES: dict[str, str] = {
    "local": "local:",
}

COMMAND = Command("0f8b6a52", "heater-1", "ixhko1cls7lzpwsf", True, 1_768_068_000_000, 1_768_068_300_000)


@pytest.fixture(params=BUSES.values(), ids=list(BUSES))
def url(request: pytest.FixtureRequest) -> str:
    """The address of each kind of bus."""
    address: str = request.param
    return address


async def test_orders_are_accepted(url: str) -> None:
    """An open bus takes orders over, one or many, and the same order once more."""
    bus = open_bus(url)
    many = [replace(COMMAND, command_id=f"c{number}", device_id=f"d{number % 7}") for number in range(50)]

    assert [None] == list(await bus.publish_many([COMMAND], timeout_s=30))
    assert [None] * 50 == list(await bus.publish_many(many, timeout_s=30))
    assert [None] == list(await bus.publish_many([COMMAND], timeout_s=30))
    await bus.close()


async def test_a_closed_bus_takes_nothing(url: str) -> None:
    """After close, which may be called twice, every order is refused as one to try again."""
    bus = open_bus(url)
    await bus.close()
    await bus.close()
    refusals = await bus.publish_many([COMMAND, COMMAND], timeout_s=30)

    assert [BusUnavailable, BusUnavailable] == [type(refusal) for refusal in refusals]
    assert all(refusal is not None and refusal.retry_after_s >= 1 for refusal in refusals)


@pytest.mark.parametrize("url", ["", "local", "lokal:", "local:elsewhere", "carrier-pigeon://loft", "//["])
def test_an_unknown_bus_names_those_that_exist(url: str) -> None:
    """A URL that is no bus is a mistake of the set-up; the error says which there are."""
    with pytest.raises(SetupError, match=r"HEATFLEET_BUS.*local:"):
        open_bus(url)
