"""Every bus keeps the promises of ``messaging.base.Bus``."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable, SetupError
from heatfleet.messaging import open_bus
from heatfleet.messaging.base import Bus
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import listening, new_topic

# The table of backends: a name, and how to give one an address. From `local:` the orders are read by server-sent events
# (tests/api/test_send_stream.py); what arrives at a broker is at the end.
BUSES: dict[str, Callable[[PubSubServer], str]] = {
    "local": lambda _: "local:",
    "pubsub": lambda server: new_topic(server.address).bus,
}

NOW_MS = 1_768_068_000_000
COMMAND = Command("0f8b6a52", "heater-1", "ixhko1cls7lzpwsf", True, NOW_MS, NOW_MS + 300_000)


def opened(url: str) -> Bus:
    """The bus, on a clock that stands while the order lives."""
    return open_bus(url, clock=lambda: NOW_MS)


@pytest.fixture(params=BUSES.values(), ids=list(BUSES))
def url(request: pytest.FixtureRequest, pubsub_server: PubSubServer) -> str:
    """The address of each kind of bus."""
    address: str = request.param(pubsub_server)
    return address


async def test_orders_are_accepted(url: str) -> None:
    """An open bus takes orders over, one or many, and the same order once more."""
    bus = opened(url)
    many = [replace(COMMAND, command_id=f"c{number}", device_id=f"d{number % 7}") for number in range(50)]

    assert [None] == list(await bus.publish_many([COMMAND], timeout_s=30))
    assert [None] * 50 == list(await bus.publish_many(many, timeout_s=30))
    assert [None] == list(await bus.publish_many([COMMAND], timeout_s=30))
    assert bus.trouble is None
    await bus.close()


async def test_no_orders_are_no_trouble(url: str) -> None:
    """Nothing to publish is answered with nothing, also by a bus that is closed."""
    bus = opened(url)

    assert [] == list(await bus.publish_many([], timeout_s=30))
    await bus.close()
    assert [] == list(await bus.publish_many([], timeout_s=30))


async def test_a_bus_in_order_finds_nothing_wrong(url: str) -> None:
    """A bus whose orders reach somebody has nothing to complain of."""
    bus = opened(url)

    assert "" == await bus.check()
    await bus.close()


async def test_a_closed_bus_takes_nothing(url: str) -> None:
    """After close, which may be called twice, every order is refused as one to try again."""
    bus = opened(url)
    await bus.close()
    await bus.close()
    refusals = await bus.publish_many([COMMAND, COMMAND], timeout_s=30)

    assert [BusUnavailable, BusUnavailable] == [type(refusal) for refusal in refusals]
    assert all(refusal is not None and refusal.retry_after_s >= 1 for refusal in refusals)


async def test_a_bus_that_was_used_is_closed_as_well(url: str) -> None:
    """Closing after orders went through refuses those that come later."""
    bus = opened(url)
    await bus.publish_many([COMMAND], timeout_s=30)
    await bus.close()

    [refusal] = await bus.publish_many([COMMAND], timeout_s=30)
    assert isinstance(refusal, BusUnavailable)


@pytest.mark.parametrize("url", ["", "local", "lokal:", "local:elsewhere", "carrier-pigeon://loft", "//["])
def test_an_unknown_bus_names_those_that_exist(url: str) -> None:
    """A URL that is no bus is a mistake of the set-up; the error says which there are."""
    with pytest.raises(SetupError, match=r"HEATFLEET_BUS.*local:.*pubsub://"):
        open_bus(url)


async def test_what_a_subscriber_of_pubsub_gets(pubsub_server: PubSubServer) -> None:
    """A subscriber gets the orders as documented, those of a device in the order in which they were given."""
    names = new_topic(pubsub_server.address)
    bus = opened(names.bus)
    orders = [
        replace(COMMAND, command_id=f"c{number}", device_id=f"d{number % 7}", switch=number % 3 == 0)
        for number in range(100)
    ]
    with listening(names) as heard:
        for place in range(0, 100, 25):
            assert [None] * 25 == list(await bus.publish_many(orders[place : place + 25], timeout_s=30))
        heard.wait_for({order.command_id for order in orders})
    await bus.close()

    first = next(one for one in pubsub_server.published(names.topic) if one.attributes["command_id"] == "c0")
    assert {"devId": "d0", "switch": True} == json.loads(first.data)
    assert first.attributes == {
        "command_id": "c0",
        "issued_at": "2026-01-10T18:00:00.000Z",
        "expires_at": "2026-01-10T18:05:00.000Z",
    }
    assert [device_id for device_id, _, _ in heard.orders] == heard.keys
    given: dict[str, list[str]] = {}
    for order in orders:
        given.setdefault(order.device_id, []).append(order.command_id)
    assert given == heard.ids_by_device()
