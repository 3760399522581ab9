"""What becomes of an order that Pub/Sub does not take: refused in time, tried again while there is hope, never late.

P2 of the plan of tests. Each test speaks to a real server over gRPC, which does what the test asks it to.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from heatfleet.domain.commands import Command
from heatfleet.errors import BusUnavailable
from heatfleet.messaging import open_bus
from heatfleet.messaging.base import Bus
from heatfleet.messaging.pubsub.bus import CALLS_MAX, REQUEST_MESSAGES_MAX, request_of
from tests.figures import Figure
from tests.pubsub_server import PubSubServer
from tests.pubsub_server.clients import Names, listening, new_topic
from tests.silent_proxy import silent_proxy

NOW_MS = 1_768_068_000_000
TTL_MS = 300_000
LONG_S = 60
"""More than any of this takes: whoever needs it hangs."""


class Clock:
    """A wall clock in the hands of the test."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def names(pubsub_server: PubSubServer) -> Names:
    """A topic of this test's own, with a subscription."""
    return new_topic(pubsub_server.address)


@pytest.fixture
async def bus(names: Names, clock: Clock) -> AsyncIterator[Bus]:
    """The bus on that topic."""
    opened = open_bus(names.bus, clock=clock)
    yield opened
    await opened.close()


def orders(*device_ids: str) -> list[Command]:
    """An order for each device, with an id of its own."""
    return [Command(f"c-{one}", one, "p", True, NOW_MS, NOW_MS + TTL_MS) for one in device_ids]


def many(count: int) -> list[Command]:
    return orders(*(f"d{number}" for number in range(count)))


@pytest.mark.parametrize(
    ("code", "what_to_do"),
    [
        ("PERMISSION_DENIED", "roles/pubsub.publisher"),
        ("NOT_FOUND", "create it"),
        ("UNAUTHENTICATED", "credentials"),
        ("INVALID_ARGUMENT", "the log"),
        ("FAILED_PRECONDITION", "the log"),
    ],
)
async def test_what_will_not_go_by_is_refused_at_once(
    bus: Bus, pubsub_server: PubSubServer, code: str, what_to_do: str
) -> None:
    """An answer that an equal request would get again is given on at once, with what to do, after a single try."""
    before = pubsub_server.calls()
    pubsub_server.fault(code)
    began_s = time.monotonic()
    [refusal] = await bus.publish_many(orders("d1"), timeout_s=LONG_S)

    assert refusal is not None
    assert what_to_do in str(refusal)
    assert "d1" not in str(refusal)
    assert time.monotonic() - began_s < LONG_S / 2
    assert before + 1 == pubsub_server.calls()
    assert bus.trouble is refusal
    pubsub_server.clear()
    assert [None] == list(await bus.publish_many(orders("d1"), timeout_s=LONG_S))
    assert bus.trouble is None


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "DEADLINE_EXCEEDED"])
async def test_what_may_go_by_is_tried_again(bus: Bus, pubsub_server: PubSubServer, names: Names, code: str) -> None:
    """A failure that passes before the deadline is not noticed by whoever gave the order, and it is published once."""
    pubsub_server.fault(code, times=3)

    assert [None] == list(await bus.publish_many(orders("d1"), timeout_s=LONG_S))
    assert ["c-d1"] == [one.attributes["command_id"] for one in pubsub_server.published(names.topic)]


async def test_a_lost_answer_repeats_the_order_under_its_id(
    bus: Bus, pubsub_server: PubSubServer, names: Names
) -> None:
    """When the answer is lost the order is published again, and its id tells whoever gets it twice."""
    pubsub_server.fault("UNAVAILABLE", done=True, times=1)

    assert [None] == list(await bus.publish_many(orders("d1"), timeout_s=LONG_S))
    assert ["c-d1"] * 2 == [one.attributes["command_id"] for one in pubsub_server.published(names.topic)]


FAULTS: dict[str, Callable[[PubSubServer], None]] = {
    "unavailable": lambda server: server.fault("UNAVAILABLE"),
    "hangs": lambda server: server.fault(),
    "too slow": lambda server: server.fault(delay_s=30),
    "down": lambda server: server.shut(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_after_the_deadline_nothing_is_sent(
    bus: Bus, pubsub_server: PubSubServer, names: Names, fault: Callable[[PubSubServer], None], figure: Figure
) -> None:
    """Orders that are not accepted in time are refused then, not sent when all is well again, and hold up no other."""
    fault(pubsub_server)
    began_s = time.monotonic()
    refusals = await bus.publish_many(many(1_000), timeout_s=0.5)
    took_s = time.monotonic() - began_s

    assert [BusUnavailable] * 1_000 == [type(refusal) for refusal in refusals]
    assert took_s < LONG_S
    figure("P2", "1,000 orders that Pub/Sub did not take within 0.5 s were refused after (s)", took_s)
    pubsub_server.mend()
    after = [replace(order, command_id=f"again-{order.device_id}") for order in many(1_000)]
    assert [None] * 1_000 == list(await bus.publish_many(after, timeout_s=LONG_S))
    assert {order.command_id for order in after} == {
        one.attributes["command_id"] for one in pubsub_server.published(names.topic)
    }


async def test_calls_under_way_are_bounded(bus: Bus, pubsub_server: PubSubServer) -> None:
    """However many orders wait for a server that says nothing, it is asked so many things at a time and no more."""
    before = pubsub_server.calls()
    pubsub_server.fault()
    waiting = [asyncio.create_task(bus.publish_many(many(2_000), timeout_s=1.5)) for _ in range(3)]
    await asyncio.sleep(1)
    first = pubsub_server.calls() - before
    refusals = [refusal for done in waiting for refusal in await done]

    assert 0 < first <= 500 == CALLS_MAX
    assert all(refusals)


async def test_one_device_does_not_hold_up_another(bus: Bus, pubsub_server: PubSubServer) -> None:
    """An order that hangs is refused in time, those of other devices are not, and the next one goes through."""
    assert [None] == list(await bus.publish_many(orders("d0"), timeout_s=LONG_S))  # it is connected
    pubsub_server.fault(key="stuck")
    [stuck, *others] = await bus.publish_many(orders("stuck", "d1", "d2"), timeout_s=2)

    assert stuck is not None
    assert [None, None] == others
    pubsub_server.clear()
    assert [None] == list(await bus.publish_many(orders("stuck"), timeout_s=LONG_S))


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAVAILABLE"])
async def test_no_device_stays_paused(bus: Bus, pubsub_server: PubSubServer, names: Names, code: str) -> None:
    """A device whose order was refused hears the next one, and hears them in order from then on."""
    with listening(names) as heard:
        for number in range(3):
            pubsub_server.fault(code)
            assert all(await bus.publish_many(orders("d1"), timeout_s=0.5))
            pubsub_server.clear()
            good = [replace(order, command_id=f"good-{number}") for order in orders("d1")]
            assert [None] == list(await bus.publish_many(good, timeout_s=LONG_S))
        heard.wait_for({"good-0", "good-1", "good-2"})

    assert {"d1": ["good-0", "good-1", "good-2"]} == heard.ids_by_device()


async def test_an_expired_order_is_not_published(
    bus: Bus, pubsub_server: PubSubServer, names: Names, clock: Clock
) -> None:
    """An order whose time runs out while Pub/Sub is away is refused then, and not tried again; another one still is."""
    pubsub_server.fault("UNAVAILABLE")
    short, long = orders("d1", "d2")
    short = replace(short, expires_at_ms=NOW_MS + 1_000)
    asked = asyncio.create_task(bus.publish_many([short, long], timeout_s=LONG_S))
    await asyncio.sleep(0.2)
    clock.now_ms += 1_000
    await asyncio.sleep(1.5)
    pubsub_server.clear()
    expired, published = await asked

    assert "expired" in str(expired)
    assert published is None
    assert ["c-d2"] == [one.attributes["command_id"] for one in pubsub_server.published(names.topic)]
    assert bus.trouble is None


async def test_an_order_that_hangs_past_its_time_is_broken_off(pubsub_server: PubSubServer, names: Names) -> None:
    """A request under way ends with the life of its order, however much time the caller would have given it."""
    pubsub_server.fault()
    began_s = time.monotonic()
    bus = open_bus(names.bus)
    soon_ms = time.time_ns() // 1_000_000 + 300
    [refusal] = await bus.publish_many([replace(orders("d1")[0], expires_at_ms=soon_ms)], timeout_s=LONG_S)
    await bus.close()

    assert "expired" in str(refusal)
    assert time.monotonic() - began_s < LONG_S / 2
    pubsub_server.clear()
    assert [] == pubsub_server.published(names.topic)


async def test_a_connection_that_died_in_silence_is_left(names: Names, clock: Clock) -> None:
    """When nothing comes over a connection any more, and nobody says why, the next order takes a new one."""
    async with silent_proxy(names.address) as proxy:
        bus = open_bus(names.bus.replace(names.address, proxy.address), clock=clock)
        assert [None] == list(await bus.publish_many(orders("d1"), timeout_s=LONG_S))
        proxy.silence()
        patient = asyncio.create_task(bus.publish_many(orders("d2"), timeout_s=20))
        assert all(await bus.publish_many(orders("d1"), timeout_s=1))
        # gRPC itself would find out after 40 s; the dead connection still has a call on it.
        assert [None] == list(await bus.publish_many(orders("d1"), timeout_s=20))
        patient.cancel()
        await bus.close()


def test_all_the_messages_of_a_request_fit() -> None:
    """The greatest order there can be, as often as a request may hold it, weighs a tenth of what a request may."""
    greatest = Command("c" * 36, "d" * 64, "p", False, NOW_MS, NOW_MS + TTL_MS)
    size_bytes = request_of("projects/p/topics/t", [greatest] * REQUEST_MESSAGES_MAX).ByteSize()

    assert 1_000 == REQUEST_MESSAGES_MAX
    assert size_bytes < 1_000_000


async def test_many_orders_of_one_device_are_as_few_requests_as_may_be(
    bus: Bus, pubsub_server: PubSubServer, names: Names
) -> None:
    """A device with more orders than a request may hold gets them in several, in order."""
    before = pubsub_server.calls()
    given = [replace(order, command_id=f"c{number}") for number, order in enumerate(orders("d1") * 2_500)]

    assert [None] * 2_500 == list(await bus.publish_many(given, timeout_s=LONG_S))
    assert before + 3 == pubsub_server.calls()
    assert [one.command_id for one in given] == [
        one.attributes["command_id"] for one in pubsub_server.published(names.topic)
    ]
