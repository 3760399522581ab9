"""Who gets no answer sends again, and so may who sent bad items among good ones: each reading counts once."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from heatfleet.domain.messages import POWER, Reading
from heatfleet.storage import open_store
from tests.figures import Figure
from tests.kept import kept_readings
from tests.oracle import defined, told
from tests.path.conftest import WholeServer
from tests.path.expected import expected_report
from tests.serving import RunningServer, message, ndjson

START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
CLIENTS = 8
LOST = 0.1
"""So many of the answers."""


@dataclass
class LossyProxy:
    """Passes everything on between clients and a server, but for some of the answers, which it drops with the line."""

    server: RunningServer
    dice: random.Random
    answers: int = 0
    dropped: int = 0
    lines: list[asyncio.Task[None] | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection; the server closes its own when the client goes."""
        self.lines.append(asyncio.current_task())
        from_server, to_server = await asyncio.open_connection(self.server.host, self.server.port)
        forward = asyncio.create_task(_pass_on(reader, to_server))
        while answer := await from_server.read(65_536):  # one answer, as clients wait for it before the next request
            self.answers += 1
            if self.dice.random() < LOST:
                self.dropped += 1
                break
            writer.write(answer)
        for ended in (writer, to_server):
            ended.close()
            with suppress(OSError):
                await ended.wait_closed()
        with suppress(OSError):
            await forward


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def lossy(server: RunningServer, dice: random.Random) -> AsyncIterator[tuple[LossyProxy, int]]:
    """The proxy and its port."""
    proxy = LossyProxy(server, dice)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
        yield proxy, listening.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, proxy.lines))


@dataclass
class Client:
    """Sends each request until it is answered."""

    port: int
    retries: int = 0
    _streams: list[Any] = field(default_factory=list)

    async def send(self, body: bytes, kind: str) -> dict[str, Any]:
        """The answer that came in the end."""
        head = (
            f"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        while True:
            try:
                return await self._ask(head.encode() + body)
            except (OSError, asyncio.IncompleteReadError):
                self.retries += 1
                await self.close()

    async def close(self) -> None:
        """Hang up."""
        if self._streams:
            _, writer = self._streams
            self._streams = []
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _ask(self, request: bytes) -> dict[str, Any]:
        if not self._streams:
            self._streams = [*await asyncio.open_connection("127.0.0.1", self.port)]
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        answer: dict[str, Any] = json.loads(await reader.readexactly(size))
        return answer


def requests_of(messages: int, single: int) -> Iterator[tuple[list[Reading], str]]:
    """Messages of a reading each, no two of one device at one time: batches of 250, and so many alone."""
    said = [Reading(f"d{n % 50}", "p1", POWER, START_MS + n // 50 * 1000, float(n % 1500)) for n in range(messages)]
    for one in said[:single]:
        yield [one], "application/json"
    for first in range(single, messages, 250):
        yield said[first : first + 250], "application/x-ndjson"


def as_message(one: Reading) -> dict[str, Any]:
    return message(one.device_id, {"code": "instant_power", "time": one.time_ms, "value": one.value})


async def send_all(proxy_port: int, requests: Iterator[tuple[list[Reading], str]]) -> tuple[list[Reading], int]:
    """What the clients sent, and how often they had to send again."""
    sent: list[Reading] = []

    async def talk() -> int:
        client = Client(proxy_port)
        for readings, kind in requests:
            answer = await client.send(ndjson(*map(as_message, readings)), kind)
            assert {"status": "ok", "inserted": len(readings)} == answer
            sent.extend(readings)
        await client.close()
        return client.retries

    retries = await asyncio.gather(*(talk() for _ in range(CLIENTS)))
    return sent, sum(retries)


def counts_each_once(server: RunningServer, messages: int, single: int, seed: int, figure: Figure) -> None:
    async def talk() -> tuple[list[Reading], int, LossyProxy]:
        async with lossy(server, random.Random(seed)) as (proxy, port):
            sent, retries = await send_all(port, requests_of(messages, single))
            return sent, retries, proxy

    sent, retries, proxy = asyncio.run(talk())
    now_ms = server.rollup().as_of_ms
    assert len(sent) == messages
    assert 0 < proxy.dropped == retries, f"seed {seed}"
    assert set(sent) == kept_readings(server.store_path)
    assert expected_report(sent, now_ms) == server.client.get("/report").json()
    figure("R1", "messages", messages)
    figure("R1", "answers lost after the commit (%)", 100 * proxy.dropped / proxy.answers)
    figure("R1", "requests sent again", retries)
    figure("R1", "counted twice, or not at all", 0)


def test_what_is_sent_again_for_want_of_an_answer_counts_once(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """With every tenth answer lost after the commit, clients that send again are counted as if none had been."""
    server = start_whole_server(rollup_every_s=0.2)
    counts_each_once(server, messages=50_000, single=3_000, seed=1, figure=figure)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_is_sent_again_counts_once_in_a_million(
    start_whole_server: Callable[..., WholeServer], figure: Figure
) -> None:
    """The same with a million messages, other answers lost each time that it is run."""
    seed = random.SystemRandom().randrange(1 << 32)
    server = start_whole_server(rollup_every_s=1)
    counts_each_once(server, messages=1_000_000, single=50_000, seed=seed, figure=figure)


BAD: list[Any] = [
    None,
    {},
    message("d 1"),
    message("d1", {"code": "instant_power", "time": START_MS, "value": "1"}),
    message("d1", {"code": "instant_power", "time": START_MS, "value": 1e9}),
    message("d1", {"code": "instant_power", "time": 1, "value": 1}),
    message("d1", {"code": "instant_power", "time": START_MS, "value": 1}, {"code": "temp_interior", "value": 20}),
    {**message("d1"), "bizCode": "somethingElse"},
]
"""Items that no batch may take; one of them has a good reading beside the bad one."""


@pytest.mark.parametrize("form", ["array", "lines"])
def test_the_good_ones_of_a_batch_are_stored_once_whatever_the_others_are(form: str, server: RunningServer) -> None:
    """Of 1,000 items some are bad: each bad one is named, each good one is stored; sending again changes nothing."""
    dice = random.Random(4)
    good: list[Reading] = []
    for number, bad in enumerate([1, 2, 10, 500, 998, 999, 1000]):
        first_ms = START_MS + number * 3_600_000
        said = [Reading(f"d{n % 9}", "p1", POWER, first_ms + n * 1000, float(n)) for n in range(1000)]
        places = sorted(dice.sample(range(1000), bad))
        items: list[Any] = [as_message(one) for one in said]
        for place in places:
            items[place] = dice.choice(BAD)
        good += [one for place, one in enumerate(said) if place not in set(places)]
        kind = "application/json" if form == "array" else "application/x-ndjson"
        answers = [server.post(items if form == "array" else ndjson(*items), Content_Type=kind) for _ in range(2)]

        assert answers[0].content == answers[1].content
        assert (422 if bad == 1000 else 200) == answers[0].status_code
        assert places == [item["index"] for item in answers[0].json()["rejected"]]
        assert 1000 - bad == answers[0].json().get("inserted", 0)
    now_ms = server.rollup().as_of_ms
    assert set(good) == kept_readings(server.store_path)
    with closing(open_store(server.store_url, writable=False)) as store:
        assert defined(good, now_ms) == told(store.figures())
