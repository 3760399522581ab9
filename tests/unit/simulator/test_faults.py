"""Each fault does what it says, and only that."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from heatfleet.simulator import FaultOptions
from heatfleet.simulator.dice import Dice
from heatfleet.simulator.faults import Faults, Outages
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, Message, parse, simulate, winter

DEVICES = np.arange(400, dtype=np.int64)


def times(messages: list[Message]) -> dict[str, list[int]]:
    """When each device measured, in order of arrival."""
    said = defaultdict(list)
    for message in messages:
        said[message["bizData"]["devId"]].append(message["bizData"]["properties"][0]["time"])
    return said


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.8, 1.0])
def test_outages_take_their_share_of_time(share: float) -> None:
    """Over many devices and days, the share of time inside outages is the one asked for."""
    outages = Outages(Dice(1), "silence", share, DEVICES)
    inside = 0
    for step in range(500):
        time_ms = np.full(len(DEVICES), JANUARY_MS + step * 977_777)
        start_ms, end_ms, period_end_ms = outages.around(DEVICES, time_ms)
        assert ((start_ms <= end_ms) & (end_ms <= period_end_ms)).all()
        inside += int(((start_ms <= time_ms) & (time_ms < end_ms)).sum())

    assert inside / (500 * len(DEVICES)) == pytest.approx(share, rel=0.1)


def test_silence_loses_messages_for_ever() -> None:
    """What a silent device says is lost, in outages of minutes to hours, and not only at the end."""
    options = winter(24, devices=30, faults=FaultOptions(silence_share=0.1))
    heard, all_said = simulate(options), simulate(winter(24, devices=30))
    gaps_ms = [max(np.diff(said)) for said in times(parse(heard)).values()]

    assert len(heard) == pytest.approx(0.9 * len(all_said), rel=0.04)
    assert max(gaps_ms) > HOUR_MS
    assert len(set(heard)) == len(heard)


def test_a_device_back_from_silence_says_everything() -> None:
    """The first message after an outage carries all properties, within a step of its end."""
    options = winter(24, devices=30, faults=FaultOptions(silence_share=0.1))
    full = [one for one in parse(simulate(options)) if len(one["bizData"]["properties"]) == 3]
    outages = Outages(Dice(options.seed), "silence", 0.1, DEVICES)
    after_start = [one for one in full if one["bizData"]["properties"][0]["time"] > JANUARY_MS + 10_000]
    names = sorted({one["bizData"]["devId"] for one in full})

    assert len(names) == 30
    assert len(after_start) > 20
    ends_ms = {
        int(end)
        for step in range(96)
        for end in outages.around(DEVICES, JANUARY_MS + DEVICES * 0 + step * HOUR_MS // 2)[1]
    }
    for one in after_start:
        time_ms = one["bizData"]["properties"][0]["time"]
        assert any(end_ms <= time_ms < end_ms + 10_000 for end_ms in ends_ms)


def test_delay_brings_the_same_messages_later() -> None:
    """A delayed device loses nothing: the same messages arrive, some of them hours late and in disorder."""
    late, prompt = simulate(winter(24, faults=FaultOptions(delay_share=0.2))), simulate(winter(24))

    assert late != prompt
    assert sorted(late) == sorted(prompt)
    said = times(parse(late))
    assert any(np.diff(moments).min() < 0 for moments in said.values())
    everybody = [message["ts"] for message in parse(late)]
    assert max(np.maximum.accumulate(everybody) - everybody) > HOUR_MS


def test_disorder_lets_messages_overtake() -> None:
    """Held-up messages are the same ones, overtaken within a quarter of an hour."""
    mixed, orderly = simulate(winter(24, faults=FaultOptions(disorder_share=0.1))), simulate(winter(24))

    assert sorted(mixed) == sorted(orderly)
    stamps = [message["ts"] for message in parse(mixed)]
    behind_ms = np.maximum.accumulate(stamps) - stamps
    assert 60_000 < max(behind_ms) < 15 * 60_000
    assert 0.03 < (behind_ms > 1000).mean() < 0.1  # a short delay overtakes nobody


def test_repeats_are_the_same_bytes_again() -> None:
    """The share asked for arrives twice, byte for byte, and nothing else changes."""
    often, once = Counter(simulate(winter(24, faults=FaultOptions(repeat_share=0.1)))), Counter(simulate(winter(24)))

    assert often.keys() == once.keys()
    assert set(often.values()) == {1, 2}
    assert often.total() == pytest.approx(1.1 * once.total(), rel=0.02)


def test_wrong_clocks_are_wrong_for_some_devices_sometimes() -> None:
    """A wrong clock is up to 2 h slow or 200 s fast, by tens of seconds, for part of the time; the rest is unmoved."""
    wrong = parse(simulate(winter(24, devices=40, faults=FaultOptions(wrong_clock_share=0.5))))
    right = parse(simulate(winter(24, devices=40)))
    off_ms = defaultdict(set)
    for told, true in zip(wrong, right, strict=True):
        assert told["bizData"]["dataId"] == true["bizData"]["dataId"]
        difference_ms = told["bizData"]["properties"][0]["time"] - true["bizData"]["properties"][0]["time"]
        off_ms[told["bizData"]["devId"]].add(difference_ms)

    seen = sorted(set.union(*off_ms.values()))
    assert -7_200_000 <= seen[0] < -HOUR_MS
    assert 0 < seen[-1] <= 200_000
    assert all(difference_ms % 10_000 == 0 for difference_ms in seen)
    assert 10 < sum(len(some) > 1 for some in off_ms.values()) < 30


def test_offline_is_silent_or_delayed() -> None:
    """Orders cannot reach a device in either kind of outage, and always reach one that has none."""
    moments = np.full(len(DEVICES), JANUARY_MS)
    faults = Faults(FaultOptions(silence_share=0.2, delay_share=0.2), Dice(1), DEVICES, JANUARY_MS)
    perfect = Faults(FaultOptions(), Dice(1), DEVICES, JANUARY_MS)

    assert faults.offline(DEVICES, moments).mean() == pytest.approx(0.36, abs=0.08)
    assert not perfect.offline(DEVICES, moments).any()


def test_total_silence_is_silent() -> None:
    """With a share of 1 nothing ever arrives."""
    assert simulate(winter(30, faults=FaultOptions(silence_share=1.0))) == []


def test_no_reading_comes_from_the_refused_future() -> None:
    """With all faults on, no stamp is 300 s or more ahead of the moment the message could arrive."""
    faults = FaultOptions(wrong_clock_share=1.0)
    for told, true in zip(simulate(winter(24, faults=faults)), simulate(winter(24)), strict=True):
        assert json.loads(told)["ts"] - json.loads(true)["ts"] < 300_000
