"""The process: a server on a port of the loopback interface, and one line of JSON in and out for each wish."""

import asyncio
import base64
import json
import sys
from typing import Any

import grpc

from tests.pubsub_server.broker import Broker
from tests.pubsub_server.faults import Fault, Faults
from tests.pubsub_server.services import REQUEST_BYTES_MAX, Services

OPTIONS = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 2 * REQUEST_BYTES_MAX)]


class Process:
    """What the handle may wish for, each a method that takes what came with the wish."""

    def __init__(self) -> None:
        self._broker = Broker()
        self._faults = Faults()
        self._services = Services(self._broker, self._faults)
        self._server: grpc.aio.Server | None = None
        self._port = 0

    async def open(self) -> int:
        """Listen, on the port of before if there was one; what was kept is still there."""
        if self._server is None:
            self._server = grpc.aio.server(options=OPTIONS)
            self._server.add_generic_rpc_handlers(self._services.handlers())
            self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
            await self._server.start()
        return self._port

    async def shut(self) -> None:
        """Break off every call and connection, and listen no more; who has which message is forgotten."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
            for queue in self._broker.queues.values():
                queue.expire(float("inf"))

    async def reset(self) -> None:
        """Break off every call and connection, and listen again at once."""
        await self.shut()
        await self.open()

    async def fault(self, **fields: Any) -> None:
        self._faults.add(Fault(**fields))

    async def clear(self) -> None:
        self._faults.clear()

    async def deny(self, permissions: list[str]) -> None:
        self._services.denied = set(permissions)

    async def keep_nothing(self) -> None:
        self._broker.keep_published = False

    async def taken(self) -> int:
        return self._broker.taken

    async def calls(self) -> dict[str, int]:
        return self._services.calls

    async def published(self, topic: str, after: int = 0) -> list[dict[str, Any]]:
        return [
            {
                "id": one.message_id,
                "data": base64.b64encode(one.data).decode(),
                "attributes": dict(one.attributes),
                "key": one.ordering_key,
                "time_ms": one.publish_time.ToMilliseconds(),
            }
            for one in self._broker.published.get(topic, [])[after:]
        ]

    async def unacknowledged(self, subscription: str) -> int:
        return len(self._broker.queues[subscription])

    async def attempts(self, subscription: str) -> int:
        return self._broker.queues[subscription].attempts

    async def expire(self, subscription: str) -> None:
        """All leases of the subscription are over now: what was not acknowledged comes again."""
        self._broker.queues[subscription].expire(float("inf"))

    async def run(self) -> None:
        """Do what is wished until nobody can wish any more."""
        leases = asyncio.create_task(self._broker.expire_leases())
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            name, fields = json.loads(line)
            sys.stdout.write(f"{json.dumps(await getattr(self, name)(**fields))}\n")
            sys.stdout.flush()
        leases.cancel()
        await self.shut()


if __name__ == "__main__":
    asyncio.run(Process().run())
