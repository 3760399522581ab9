"""Orders: heard, judged, obeyed."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from heatfleet.simulator import FaultOptions, Fleet
from heatfleet.simulator.orders import Order, OrderBook, listen
from heatfleet.simulator.post import service_at
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, Answer, Hand, TinyService, winter

NOW_MS = JANUARY_MS + HOUR_MS
STREAM = {"Content-Type": "text/event-stream"}


def order(device_id: str, *, on: bool = False, issued_s: int = 0, ttl_s: int = 300) -> Order:
    """An order some seconds after NOW."""
    issued_ms = NOW_MS + issued_s * 1000
    return Order("c-1", device_id, on, issued_ms, issued_ms + ttl_s * 1000)


def event(number: int, wanted: Order) -> bytes:
    """An order as the stream sends it."""
    stamp = [datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in (wanted.issued_ms, wanted.expires_ms)]
    data = {"command_id": "c-1", "devId": wanted.device_id, "switch": wanted.on}
    data |= {"issued_at": stamp[0], "expires_at": stamp[1]}
    return f"id: {number}\nevent: command\ndata: {json.dumps(data)}\n\n".encode()


class Notebook(OrderBook):
    """Writes down what was heard, and calls for a stop when it is enough."""

    def __init__(self, fleet: Fleet, enough: int) -> None:
        super().__init__(fleet)
        self.heard: list[Order] = []
        self.stop = asyncio.Event()
        self._enough = enough

    def hear(self, order: Order) -> None:
        """Note the order."""
        self.heard.append(order)
        if len(self.heard) == self._enough:
            self.stop.set()


class Listening:
    """A listener to the tiny service, what it heard, and the troubles it told of."""

    def __init__(self, service: TinyService, hand: Hand) -> None:
        self.heard: list[Order] = []
        self.troubles: list[str] = []
        self._service, self._hand = service, hand

    async def listen(self, orders: int) -> None:
        """Listen until this many orders were heard, or the listener gives up."""
        book = Notebook(Fleet(winter(1)), orders)
        async with service_at(self._service.url, None, connections=1) as client:
            await listen(
                client,
                book,
                self._hand.clock(),
                book.stop,
                product_id="simheater",
                on_trouble=self.troubles.append,
            )
        self.heard = book.heard


async def test_orders_are_heard_however_the_stream_is_cut(service: TinyService, hand: Hand) -> None:
    """Events cut anywhere, with comments and other events between them, are heard whole and in order."""
    wanted = [order("a", on=True), order("b", on=False, issued_s=1)]
    stream = b": hello\n\n" + event(1, wanted[0]) + b"event: ping\ndata: {}\n\n" + event(2, wanted[1])
    service.streams = [Answer(headers=STREAM, stream=[stream[at : at + 13] for at in range(0, len(stream), 13)])]
    listening = Listening(service, hand)
    await listening.listen(2)

    assert listening.heard == wanted
    assert service.requests[0].target == "/commands/stream?product_id=simheater"
    assert "last-event-id" not in service.requests[0].headers


async def test_a_broken_stream_goes_on_where_it_broke(service: TinyService, hand: Hand) -> None:
    """After a break, a refusal, and nonsense the stream is asked for again, after the last event that was heard."""
    service.streams = [
        Answer(headers=STREAM, stream=[b"retry: 3000\n", event(41, order("a"))]),
        Answer(503, b"{}"),
        Answer(200, b"{}"),
        Answer(hang_up=True),
        Answer(headers=STREAM, stream=[event(42, order("b"))]),
    ]
    listening = Listening(service, hand)
    await listening.listen(2)

    assert [one.device_id for one in listening.heard] == ["a", "b"]
    assert [request.headers.get("last-event-id") for request in service.requests] == [None, "41", "41", "41", "41"]
    assert sum(hand.slept_s) >= 3 + 6 + 12
    assert all("not heard" in trouble for trouble in listening.troubles)


async def test_a_service_without_orders_is_left_alone(service: TinyService, hand: Hand) -> None:
    """Where there is no stream of orders that is said once, and not asked for again."""
    listening = Listening(service, hand)
    await listening.listen(1)

    assert len(service.requests) == 1
    assert listening.troubles == ["the service has no stream of orders; none will be obeyed"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"devId": "a", "switch": true}',
        '{"command_id":"c","devId":"a","switch":"on","issued_at":"2026-01-12T00:00Z","expires_at":"2026-01-12T00:00Z"}',
        '{"command_id":"c","devId":"a","switch":true,"issued_at":"now","expires_at":"later"}',
    ],
)
def test_what_is_no_order_is_not_obeyed(text: str) -> None:
    """Anything that is not clearly an order is none."""
    assert Order.from_json(text) is None


def test_the_last_order_wins() -> None:
    """Orders are obeyed in the order of their issue: an older one that comes late, or a repeat, changes nothing."""
    fleet = Fleet(winter(2))
    book, device_id = OrderBook(fleet), fleet.device_ids[4]
    for wanted in (order(device_id, issued_s=5), order(device_id, on=True), order(device_id, issued_s=5)):
        book.hear(wanted)
    book.obey(NOW_MS + 6000)

    assert (book.obeyed, book.ignored) == (1, 2)
    assert fleet._homes.switched_on.tolist() == [True] * 4 + [False] + [True] * 5


def test_an_expired_order_is_not_obeyed() -> None:
    """An order whose time is over does nothing; one for somebody else's device is nobody's business."""
    fleet = Fleet(winter(2))
    book = OrderBook(fleet)
    book.hear(order(fleet.device_ids[0]))
    book.hear(order("bfadafebb608a154206aqu"))
    book.obey(NOW_MS + 300_000)

    assert (book.obeyed, book.ignored) == (0, 1)
    assert fleet._homes.switched_on.all()


def test_an_order_waits_for_a_device_that_is_offline() -> None:
    """An order to an offline device is obeyed when it comes back in time, and never after it has expired."""
    fleet = Fleet(winter(24, devices=100, faults=FaultOptions(delay_share=0.3)))
    list(fleet.batches(NOW_MS))
    offline = [index for index in range(100) if not fleet.is_online(index)]
    book = OrderBook(fleet)
    for index in offline:
        book.hear(order(fleet.device_ids[index], ttl_s=1800))
    book.obey(NOW_MS)
    assert (book.obeyed, book.ignored) == (0, 0)

    for minute in range(1, 40):
        list(fleet.batches(NOW_MS + minute * 60_000))
        book.obey(NOW_MS + minute * 60_000)
    assert book.obeyed > 0
    assert book.ignored > 0
    assert book.obeyed + book.ignored == len(offline)
