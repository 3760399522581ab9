"""Devices that post one message each at a steady rate, and how long each waits for its answer.

An open loop: a message is due when its time has come, however slow the answers before it were.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.fleet import MadeUpFleet
from benchmarks.results import Unmeasurable
from heatfleet.domain.messages import CODE_NAMES, Reading

CONNECTIONS = 16


@asynccontextmanager
async def steady_posts(port: int, per_s: float, fleet: MadeUpFleet) -> AsyncIterator[list[float]]:
    """Post while the block lasts; the list gets the wait for each answer in ms, waiting for a connection included."""
    waits_ms: list[float] = []
    due: asyncio.Queue[float] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_post(port, fleet, due, waits_ms)) for _ in range(CONNECTIONS)]
        tasks.append(group.create_task(_tell_when(per_s, due)))
        yield waits_ms
        for task in tasks:
            task.cancel()


async def _tell_when(per_s: float, due: "asyncio.Queue[float]") -> None:
    next_s = time.perf_counter()
    while True:
        await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
        due.put_nowait(time.perf_counter())
        next_s += 1 / per_s


async def _post(port: int, fleet: MadeUpFleet, due: "asyncio.Queue[float]", waits_ms: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            due_s = await due.get()
            now_ms = time.time_ns() // 1_000_000
            body = b"".join(map(message_of, fleet.some(1, now_ms, now_ms + 1)))
            writer.write(b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.readuntil(b"}")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise Unmeasurable(f"a steady client was refused: {answer!r}")
            waits_ms.append((time.perf_counter() - due_s) * 1000)
    finally:
        writer.close()


def message_of(reading: Reading) -> bytes:
    """The message that carries one reading."""
    prop = {"code": CODE_NAMES[reading.code], "time": reading.time_ms, "value": reading.value}
    data = {"devId": reading.device_id, "productId": reading.product_id, "properties": [prop]}
    return json.dumps({"bizCode": "devicePropertyMessage", "bizData": data}).encode()
