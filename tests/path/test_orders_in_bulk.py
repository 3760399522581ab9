"""Many orders in one request, all the way: POST /send, and the streams of devices and of a product."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from tests.serving import RunningServer, message

DEVICES = 240
LISTENERS = 6
ROUNDS = 4


def heard(lines: Iterator[str], number: int) -> list[tuple[int, dict[str, Any]]]:
    """So many events of a stream, as their ids and data."""
    found: list[tuple[int, dict[str, Any]]] = []
    data: dict[str, Any] = {}
    while len(found) < number:
        name, _, value = next(lines).partition(": ")
        if name == "data":
            data = json.loads(value)
        elif name == "id":
            found.append((int(value), data))
    return found


def test_orders_in_bulk_reach_each_listener_once_and_in_order(server: RunningServer) -> None:
    """Whoever listens, for some devices or for a product, hears each order of its devices once, as it was published.

    Several senders switch overlapping halves of the fleet at the same time; the last order that a device hears is the
    one that the server calls its last.
    """
    names = [f"d{number}" for number in range(DEVICES)]
    server.post([message(name) for name in names])
    server.rollup()
    mine = [names[start::LISTENERS] for start in range(LISTENERS)]
    with ExitStack() as streams, ThreadPoolExecutor(ROUNDS) as pool:
        questions: list[dict[str, Any]] = [{"device_id": some} for some in mine] + [{"product_id": "p1"}]
        listening = [
            streams.enter_context(server.client.stream("GET", "/commands/stream", params=question)).iter_lines()
            for question in questions
        ]
        requests = [
            [{"device_id": name, "switch": bool(number % 2)} for name in names[number * 40 :] + names[:40]]
            for number in range(ROUNDS)
        ]
        answers = list(pool.map(lambda orders: server.client.post("/send", json=orders).json(), requests))
        sent = {it["command_id"]: it["device_id"] for answer in answers for it in answer["commands"]}
        *of_devices, of_product = listening
        by_device = [
            heard(lines, sum(name in some for name in sent.values()))
            for lines, some in zip(of_devices, mine, strict=True)
        ]
        by_product = heard(of_product, len(sent))

    assert sum(map(len, requests)) == len(sent) == sum(answer["sent"] for answer in answers)
    for events in (*by_device, by_product):
        assert sorted({sequence for sequence, _ in events}) == [sequence for sequence, _ in events]
    assert sorted(sent) == sorted(data["command_id"] for _, data in by_product)
    assert by_product == sorted((event for events in by_device for event in events), key=lambda event: event[0])
    last = {data["devId"]: data["command_id"] for _, data in by_product}
    told = {name: server.client.get(f"/devices/{name}").json()["last_order"]["id"] for name in names[::9]}
    assert told == {name: last[name] for name in told}
