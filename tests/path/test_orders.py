"""Orders to heaters, all the way: POST /send, the stream, a heater that obeys, its readings, and the report."""

import asyncio
from collections.abc import Callable

from heatfleet.domain.slots import HOUR_MS
from heatfleet.simulator import Clock, SimulationOptions, run, verify
from tests.path.expected import milliseconds
from tests.serving import RunningServer

NOON_MS = milliseconds("2026-01-12T12:00")  # a cold day
MINUTE_MS = 60_000
STEP_MS = 10_000


class Pace:
    """The simulator's clock: live, but as fast as the machine can, and never beyond ``until_ms``."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = self.until_ms = now_ms
        self._reached = asyncio.Event()

    async def sleep(self, delay_s: float) -> None:
        """Move on by 40 s for each second of waiting, if the test lets us."""
        self.now_ms += min(self.until_ms - self.now_ms, round(delay_s * 40_000))
        if self.now_ms == self.until_ms:
            self._reached.set()
        await asyncio.sleep(0.002)

    async def reach(self, until_ms: int) -> None:
        """Let time go on up to this moment."""
        self.until_ms = until_ms
        self._reached.clear()
        await self._reached.wait()

    def clock(self) -> Clock:
        return Clock(now_ms=lambda: self.now_ms, sleep=self.sleep)


class Fleet:
    """What the test asks the server about the heaters."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server

    def heating(self) -> list[str]:
        """The heaters that draw power, as of now."""
        self._server.rollup()
        answer = self._server.client.get("/devices", params={"switched": "on"}).json()
        return [device["device_id"] for device in answer["devices"]]

    def send(self, devices: list[str], *, switch: bool) -> None:
        for device in devices:
            answer = self._server.client.post("/send", json={"device_id": device, "switch": switch})
            assert answer.json() == {"status": "command sent"}

    def turned(self) -> float:
        """How often a heater has said that its switch was turned, which is all that is dropped here."""
        return self._server.metric("heatfleet_properties_dropped_total")

    def energy_wh(self, device: str, hour_ms: int) -> int | None:
        """What the report says of one heater in the hour that begins then."""
        self._server.rollup()
        [hours] = self._server.client.get("/report", params={"device_id": device, "from": "2026-01-12"}).json().values()
        told: int | None = hours.get(f"{(hour_ms - NOON_MS) // HOUR_MS + 12}:00")
        return told


async def until(condition: Callable[[], bool], pace: Pace, last_ms: int) -> None:
    """Let time go on, a little, until it is so."""
    while not await asyncio.to_thread(condition):
        assert pace.now_ms < last_ms
        await pace.reach(pace.now_ms + STEP_MS)
        await asyncio.sleep(0.05)


async def test_heaters_obey_and_the_report_shows_it(server: RunningServer) -> None:
    """Heaters that are ordered off draw nothing, at a known zero, until they are ordered on again."""
    pace, fleet = Pace(NOON_MS), Fleet(server)
    end_ms = NOON_MS + 4 * HOUR_MS
    options = SimulationOptions(40, NOON_MS - 2 * HOUR_MS, end_ms, url=server.base_url)
    simulation = asyncio.create_task(run(options, clock=pace.clock()))
    await pace.reach(NOON_MS + 2 * MINUTE_MS)
    # Each heater tells its switch once in the beginning; the first batch waits for a decoder to start.
    await until(lambda: fleet.turned() >= 40, pace, last_ms=NOON_MS + HOUR_MS)
    heating = await asyncio.to_thread(fleet.heating)
    ordered = heating[::2]
    said_at_start = fleet.turned()
    await asyncio.to_thread(fleet.send, ordered, switch=False)
    await until(lambda: fleet.turned() == said_at_start + len(ordered), pace, last_ms=NOON_MS + HOUR_MS)
    await pace.reach(NOON_MS + 2 * HOUR_MS + 2 * MINUTE_MS)  # the fleet is a little behind its clock
    await asyncio.to_thread(fleet.send, ordered, switch=True)
    await until(lambda: fleet.turned() == said_at_start + 2 * len(ordered), pace, last_ms=end_ms - HOUR_MS)
    await pace.reach(end_ms)
    result = await simulation

    assert len(heating) > len(ordered) > 1
    assert 2 * len(ordered) == result.orders_obeyed
    assert [0] * len(ordered) == [fleet.energy_wh(device, NOON_MS + HOUR_MS) for device in ordered]
    assert any(fleet.energy_wh(device, NOON_MS + HOUR_MS) for device in heating[1::2])
    assert any(fleet.energy_wh(device, end_ms - HOUR_MS) for device in ordered)
    assert (await verify(result.account, server.base_url, settle_s=0)).exact
    orders = [server.client.get(f"/devices/{device}").json()["last_order"] for device in ordered]
    assert [True] * len(ordered) == [order["switch"] for order in orders]
