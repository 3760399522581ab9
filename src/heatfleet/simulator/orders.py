"""Hears orders from ``GET /commands/stream`` (server-sent events) and makes the fleet obey them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx2

from heatfleet.simulator.clock import Clock, sleep_unless
from heatfleet.simulator.fleet import Fleet

_SILENCE_S = 90.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """One order to one heater; times in ms since the epoch."""

    command_id: str
    device_id: str
    on: bool
    issued_ms: int
    expires_ms: int

    @classmethod
    def from_json(cls, text: str) -> "Order | None":
        """The order in the data of an event; None for anything that is not clearly one."""
        try:
            data = json.loads(text)
            issued_ms, expires_ms = (
                round(datetime.fromisoformat(data[name]).timestamp() * 1000) for name in ("issued_at", "expires_at")
            )
            on = data["switch"]
            if not isinstance(on, bool):
                return None
            return cls(str(data["command_id"]), str(data["devId"]), on, issued_ms, expires_ms)
        except (ValueError, KeyError, TypeError):
            return None


class OrderBook:
    """Decides what becomes of each order: the last one for a device wins, and an expired one is not obeyed.

    An order to a device which is offline waits for it, as long as it has not expired.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._newest_ms: dict[int, int] = {}
        self._heard: list[Order] = []
        self.obeyed = 0
        self.ignored = 0

    def hear(self, order: Order) -> None:
        """Take an order; it is looked at with the next ``obey``."""
        self._heard.append(order)

    def obey(self, now_ms: int) -> None:
        """Switch the heaters that have orders; to be called between steps of the fleet, never during one."""
        heard, self._heard = self._heard, []
        for order in heard:
            index = self._fleet.index_of(order.device_id)
            if index is None:
                continue  # a device of another process, or a real one
            if order.expires_ms <= now_ms or order.issued_ms <= self._newest_ms.get(index, -1):
                self.ignored += 1
            elif self._fleet.is_online(index):
                self._newest_ms[index] = order.issued_ms
                self._fleet.switch(index, on=order.on)
                self.obeyed += 1
            else:
                self._heard.append(order)


async def listen(
    client: httpx2.AsyncClient,
    book: OrderBook,
    clock: Clock,
    stop: asyncio.Event,
    *,
    product_id: str,
    on_trouble: Callable[[str], None],
) -> None:
    """Hear the orders for one product until stopped; a broken stream goes on after the last event heard."""
    last_id, wait_s = "", _FIRST_WAIT_S
    while not stop.is_set():
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        request = client.stream(
            "GET",
            "/commands/stream",
            params={"product_id": product_id},
            headers=headers,
            timeout=httpx2.Timeout(10.0, read=_SILENCE_S),
        )
        try:
            async with request as response:
                if response.status_code in (404, 405):
                    on_trouble("the service has no stream of orders; none will be obeyed")
                    return
                response.raise_for_status()
                async for event in httpx2.EventSource(response):
                    wait_s = _FIRST_WAIT_S if event.retry is None else event.retry / 1000
                    last_id = event.id or last_id
                    order = Order.from_json(event.data) if event.event == "command" else None
                    if order is not None:
                        book.hear(order)
        except (httpx2.TransportError, httpx2.HTTPStatusError) as error:
            on_trouble(f"orders are not heard at the moment ({type(error).__name__})")
        await sleep_unless(stop, clock, wait_s)
        wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
