"""Devices that post one message each at a steady rate, and how long each waits for its answer.

An open loop: a message is due when its time has come, however slow the answers before it were.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from benchmarks.fleet import MESSAGES_A_DAY, MadeUpFleet
from benchmarks.results import Round, Unmeasurable
from benchmarks.servers import Server
from benchmarks.usage import Usage

CONNECTIONS = 16
PER_S_MAX = 2_000
"""What this client can keep beside a busy server and a rollup on two cores; 2,000,000 devices would send 11,600."""
_FIRST_DEVICES = 100_000
_HEAD = b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def posts_per_s(fleet: MadeUpFleet) -> float:
    """The mean rate of a fleet, as far as the client can keep it."""
    return min(PER_S_MAX, fleet.devices * MESSAGES_A_DAY / 86_400)


async def beside_ingest(server: Server, fleet: MadeUpFleet, work: Callable[[], Round]) -> dict[str, float]:
    """Work, while the fleet posts at its usual rate; what it took, and how long the posts waited."""
    before, own_s = Usage.of(server.pid), time.process_time()
    async with steady_posts(server.port, posts_per_s(fleet), fleet) as waits_ms:
        done = await asyncio.to_thread(work)
    used = Usage.of(server.pid).since(before)
    ours_s = used.process_s + used.children_s + time.process_time() - own_s + done["cpu_s"]
    p50_ms, p99_ms = np.percentile(waits_ms, [50, 99]).tolist()
    others_cores = max(0.0, used.machine_s - ours_s) / used.clock_s
    return {
        **done,
        "post_p50_ms": p50_ms,
        "post_p99_ms": p99_ms,
        "posts_per_s": len(waits_ms) / used.clock_s,
        "others_cores": others_cores,
    }


@asynccontextmanager
async def steady_posts(port: int, per_s: float, fleet: MadeUpFleet) -> AsyncIterator[list[float]]:
    """Post while the block lasts; the list gets the wait for each answer in ms, waiting for a connection included."""
    waits_ms: list[float] = []
    due: asyncio.Queue[float] = asyncio.Queue()
    # The time is written last: the rest of a message is made before there is any hurry.
    parts = [
        message.split(b":0,", 1)[0] + b":%d," + message.split(b":0,", 1)[1].replace(b'"ts":0', b'"ts":%d')
        for message in fleet.messages(fleet.some(min(_FIRST_DEVICES, 10 * fleet.devices), 0, 1))
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_post(port, parts[number::CONNECTIONS], due, waits_ms)) for number in range(CONNECTIONS)
        ]
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


async def _post(port: int, messages: list[bytes], due: "asyncio.Queue[float]", waits_ms: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    try:
        while True:
            due_s = await due.get()
            now_ms = time.time_ns() // 1_000_000
            turn += 1
            body = messages[turn % len(messages)] % (now_ms, now_ms)
            writer.write(_HEAD % (len(body), body))
            answer = await reader.readuntil(b"}")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise Unmeasurable(f"a steady client was refused: {answer!r}")
            waits_ms.append((time.perf_counter() - due_s) * 1000)
    finally:
        writer.close()
