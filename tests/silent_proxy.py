"""A network that can lose a connection without a word, as a router does that has forgotten it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SilentProxy:
    """Passes bytes on between its own port and the target's; made by ``silent_proxy``."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self.address = ""

    def silence(self) -> None:
        """From now on nothing comes through any connection that is open, in either direction; new ones work."""
        self._flowing.clear()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def listen(self) -> asyncio.Server:
        """Take connections, from now on."""
        self.silence()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def end(self) -> None:
        """Break off all connections."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink, self._flowing)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        try:
            while data := await source.read(65_536):
                await flowing.wait()
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()


@asynccontextmanager
async def silent_proxy(target: str) -> AsyncIterator[SilentProxy]:
    """A proxy before ``target`` (``HOST:PORT``), as long as the block lasts."""
    proxy = SilentProxy(target)
    server = await proxy.listen()
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
