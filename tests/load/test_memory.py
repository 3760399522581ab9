"""Large bodies, as many at once as there may be connections for: the memory they take together has a bound."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.door.test_large import decoders_of
from tests.door.wire import NDJSON, request
from tests.figures import Figure
from tests.serving import RunningServer, message, ndjson

MIB = 1024 * 1024
BESIDE_BYTES_MAX = 256 * MIB
"""What the server's own processes may have besides the bodies: interpreters, libraries, what is being decoded."""


def peak_bytes(server: RunningServer) -> int:
    """The most memory that the server and its decoders ever had, together."""
    words = (
        Path(f"/proc/{pid}/status").read_text(encoding="ascii").partition("VmHWM:")[2]
        for pid in (server.process.pid, *decoders_of(server))
    )
    return sum(int(word.split()[0]) for word in words) * 1024


async def post(port: int, data: bytes, begun: asyncio.Barrier) -> int:
    """Send most of a request, and the rest when all others have; the status of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data[:1000])
    await begun.wait()
    try:
        writer.write(data[1000:])
        await writer.drain()
    except ConnectionResetError:
        pass  # refused before it was all sent; the answer may still be there
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1])


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("room_mib", [256, 32])
async def test_a_thousand_megabytes_at_once(
    start_server: Callable[..., RunningServer], figure: Figure, room_mib: int
) -> None:
    """Each is stored or told to come back, nothing crashes, and the memory is what was allotted."""
    server = start_server(bodies_mib_max=room_mib)
    lines = ndjson(*(message(f"d{number}") for number in range(100)))
    data = request(lines + b"\n" * (MIB - len(lines)), kind=NDJSON)
    begun = asyncio.Barrier(1000)
    statuses = Counter(await asyncio.gather(*(post(server.port, data, begun) for _ in range(1000))))
    figure("O5", f"1,000 bodies of 1 MiB at once, {room_mib} MiB for them: stored", statuses[200])
    figure("O5", f"1,000 bodies of 1 MiB at once, {room_mib} MiB for them: refused", statuses[503])
    peak = peak_bytes(server)
    figure("O5", f"1,000 bodies of 1 MiB at once, {room_mib} MiB for them: peak with decoders (MiB)", peak / MIB)

    assert {200, 503} >= statuses.keys()
    assert server.process.poll() is None
    assert peak < room_mib * MIB + BESIDE_BYTES_MAX
    assert 200 == server.post(message("after")).status_code
