"""Whole simulations against a tiny service on loopback."""

import asyncio
import json
from dataclasses import replace

import pytest

from heatfleet.simulator import FaultOptions, Progress, SimulationOptions, SimulatorError, run
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, Answer, Hand, TinyService, parse, simulate, winter
from tests.unit.simulator.test_orders import STREAM, event, order

ALL = FaultOptions.all()


async def test_history_arrives_whole_and_in_order(service: TinyService, hand: Hand) -> None:
    """A historic run posts exactly the fleet's stream, in batches, without waiting and without asking for orders."""
    options = winter(6, faults=ALL, url=service.url, connections=1, batch_size=100)
    result = await run(options, headers={"X-Api-Key": "k"}, clock=hand.clock())

    assert service.lines == simulate(options)
    assert {request.target for request in service.requests} == {"/message"}
    assert {request.headers["x-api-key"] for request in service.requests} == {"k"}
    assert result.posted.messages == len(service.lines)
    assert hand.slept_s == []


async def test_timing_and_trouble_change_nothing(service: TinyService, hand: Hand) -> None:
    """Several connections, refusals and broken connections: the same set of messages."""
    options = winter(6, url=service.url, connections=4, batch_size=100)
    service.script = [Answer(), Answer(503), Answer(hang_up=True), Answer(429, headers={"Retry-After": "1"})]
    result = await run(options, clock=hand.clock())

    assert set(service.lines) == set(simulate(options))
    assert result.posted.retries == 3
    assert result.posted.messages == len(set(service.lines))


async def test_progress_is_told(service: TinyService, hand: Hand) -> None:
    """Progress goes from nothing to all, tells rate and rest, and ends finished."""
    told: list[Progress] = []
    options = winter(24, url=service.url, batch_size=100, speed=7200.0)
    result = await run(options, on_progress=told.append, clock=hand.clock())

    shares = [one.share or 0 for one in told]
    assert shares == sorted(shares)
    assert (told[-1].phase, told[-1].share, told[-1].messages) == ("finishing", 1.0, result.posted.messages)
    assert told[-1].eta_s == 0
    assert told[-1].rate_per_s == pytest.approx(result.posted.messages / result.elapsed_s)
    assert any(one.eta_s for one in told)


async def test_speed_paces_history(service: TinyService, hand: Hand) -> None:
    """At 3600 times real time, six hours take six seconds."""
    service.streams = [Answer(404)] * 4
    options = winter(6, url=service.url, speed=3600.0)
    result = await run(options, clock=hand.clock())

    assert 5 <= result.elapsed_s <= 8
    assert sorted(service.lines) == sorted(simulate(options))


async def test_no_device_is_ahead_of_the_clock(service: TinyService, hand: Hand) -> None:
    """A run into the future catches up with now and then goes on live: no message is posted before it was written."""
    hand.now_ms = JANUARY_MS + HOUR_MS
    posted_ms = []
    usual = service._answer

    def noting(method: str, target: str, body: bytes) -> Answer:
        if method == "POST":
            posted_ms.append((hand.now_ms, max(message["ts"] for message in parse(body.splitlines()))))
        return usual(method, target, body)

    service._answer = noting  # type: ignore[method-assign]
    phases: list[Progress] = []
    options = replace(winter(1.1, url=service.url), batch_size=10_000)
    result = await run(options, on_progress=phases.append, clock=hand.clock())

    assert {one.phase for one in phases} == {"history", "live", "finishing"}
    assert 0.1 * HOUR_MS / 1000 >= max(one.eta_s or 0 for one in phases if one.phase == "live") > 300
    assert sorted(service.lines) == sorted(simulate(options))
    assert hand.now_ms >= JANUARY_MS + 1.1 * HOUR_MS
    assert all(written_ms <= at_ms + 10_500 for at_ms, written_ms in posted_ms)
    assert all(written_ms <= at_ms for at_ms, written_ms in posted_ms[:-1])
    assert result.posted.requests > 10


async def test_live_orders_are_obeyed(service: TinyService, hand: Hand) -> None:
    """In a live run an order reaches the heater, which says that it is off and draws nothing any more."""
    hand.now_ms = JANUARY_MS + HOUR_MS
    options = SimulationOptions(3, JANUARY_MS + HOUR_MS // 2, url=service.url)
    probe = simulate(replace(options, end_ms=JANUARY_MS + HOUR_MS))
    device_id = parse(probe)[0]["bizData"]["devId"]
    service.streams = [Answer(headers=STREAM, stream=[event(1, order(device_id))])] * 3
    stop, ticks = asyncio.Event(), 0

    def on_progress(_: Progress) -> None:
        nonlocal ticks
        ticks += any(b'"code":"switch"' in line and b"false" in line for line in service.lines[-20:])
        if ticks > 20:
            stop.set()

    result = await run(options, on_progress=on_progress, stop=stop, clock=hand.clock())

    assert result.orders_obeyed == 1
    ours = [one for one in parse(service.lines) if one["bizData"]["devId"] == device_id]
    off = next(at for at, one in enumerate(ours) if one["bizData"]["properties"][-1]["value"] is False)
    watts = [prop["value"] for one in ours[off:] for prop in one["bizData"]["properties"] if prop["dpId"] == 1]
    assert not any(watts)


async def test_a_stopped_run_delivers_what_is_under_way(service: TinyService, hand: Hand) -> None:
    """Stopped in the middle, a run still posts what was said, and its books end where it ended."""
    options = winter(48, url=service.url, batch_size=50, connections=1, faults=FaultOptions(delay_share=0.3))
    stop = asyncio.Event()
    result = await run(
        options, on_progress=lambda one: stop.set() if one.messages > 500 else None, stop=stop, clock=hand.clock()
    )

    end_ms = result.account.end_ms
    assert JANUARY_MS < end_ms < JANUARY_MS + 48 * HOUR_MS
    assert set(service.lines) == set(simulate(replace(options, end_ms=end_ms)))
    assert len(result.account.hours(hand.now_ms)) == -(-(end_ms - JANUARY_MS) // HOUR_MS)


async def test_a_refusal_ends_the_run(service: TinyService, hand: Hand) -> None:
    """A service that does not take the requests at all ends the run with its own words."""
    service.script = [Answer(413, json.dumps({"detail": "too large"}).encode())] * 50

    with pytest.raises(SimulatorError, match="413: too large"):
        await run(winter(6, url=service.url, batch_size=20, connections=4), clock=hand.clock())


async def test_live_waits_for_a_service_that_is_away(service: TinyService, hand: Hand) -> None:
    """A live run says that the service is away, waits for it, and then catches up without losing anything."""
    hand.now_ms = JANUARY_MS
    service.script = [Answer(503)] * 8
    notes: list[str] = []
    stop = asyncio.Event()

    def on_progress(one: Progress) -> None:
        notes.append(one.note)
        if one.messages > 10:
            stop.set()

    options = SimulationOptions(3, JANUARY_MS, url=service.url, obey_orders=False)
    result = await run(options, on_progress=on_progress, stop=stop, clock=hand.clock())

    assert "the service answers 503: not now" in notes
    assert sorted(set(service.lines)) == sorted(simulate(replace(options, end_ms=result.account.end_ms)))
