"""The books of a whole simulation, held against its own messages."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from heatfleet.domain.energy import tally
from heatfleet.domain.messages import Reading, read_message
from heatfleet.simulator import FaultOptions, Fleet, HourAccount, SimulationOptions
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS, lines_of, parse, winter

SILENT = FaultOptions(silence_share=0.15)
WRONG = FaultOptions(wrong_clock_share=0.5)
LATER_MS = JANUARY_MS + 100 * HOUR_MS


def books(options: SimulationOptions, now_ms: int = LATER_MS) -> list[HourAccount]:
    """The books after a whole simulation."""
    fleet = Fleet(options)
    lines_of(fleet, options)
    return fleet.account.hours(now_ms)


def defined_mj(lines: list[bytes], now_ms: int) -> dict[int, int]:
    """What the service's definition makes of the messages, in mJ by start of the hour."""
    said: dict[str, list[Reading]] = defaultdict(list)
    for reading in (reading for message in parse(lines) for reading in read_message(message, now_ms)):
        said[reading.device_id].append(reading)
    hours: Counter[int] = Counter()
    for readings in said.values():
        for (_, slot), cell in tally(readings, hold_ms=HOUR_MS, now_ms=now_ms).items():
            if cell.known_ms:
                hours[slot // 4 * HOUR_MS] += cell.energy_mj
    return dict(hours)


@pytest.mark.parametrize(
    "faults",
    [FaultOptions(), SILENT, WRONG, FaultOptions.all(), FaultOptions(0.2, 0.2, 0.2, 0.2, 0.8)],
    ids=["none", "silence", "clocks", "all", "too much"],
)
@pytest.mark.parametrize("hours", [26, 7.3])
def test_knowable_is_the_definition_of_the_messages(faults: FaultOptions, hours: float) -> None:
    """The energy that can be known is, to the last mJ, what the definition makes of the messages that arrive."""
    options = winter(hours, devices=8, faults=faults)
    fleet = Fleet(options)
    lines = lines_of(fleet, options)

    for now_ms in (options.end_ms or 0, (options.end_ms or 0) + 1_234_567, LATER_MS):
        defined = defined_mj(lines, now_ms)
        assert all(hour.knowable_mj == defined.get(hour.start_ms) for hour in fleet.account.hours(now_ms))


@pytest.mark.parametrize("faults", [FaultOptions(), SILENT, WRONG, FaultOptions.all()])
def test_the_parts_add_up(faults: FaultOptions) -> None:
    """True energy, the three losses and the tail are what can be known, hour by hour."""
    for hour in books(winter(26.4, faults=faults)):
        parts_wh = hour.quantisation_wh + hour.silence_wh + hour.clock_wh + hour.tail_wh
        assert hour.true_wh + parts_wh == pytest.approx(hour.knowable_wh, abs=1e-6)


def test_without_faults_only_rounding_is_lost() -> None:
    """In a perfect world what is known differs from what was drawn by less than 0.1 %, all of it quantisation."""
    hours = books(winter(24, devices=30))
    true_wh = sum(hour.true_wh for hour in hours)

    assert true_wh > 30 * 5000
    assert 0 < abs(sum(hour.quantisation_wh for hour in hours)) < 0.001 * true_wh
    assert [hour.silence_wh for hour in hours] == pytest.approx([0.0] * 24, abs=1e-6)
    assert {(hour.clock_wh, hour.tail_wh) for hour in hours} == {(0.0, 0.0)}


def test_silence_and_clocks_are_told_apart() -> None:
    """Silence shows up as silence alone, a wrong clock as clock alone."""
    silent, wrong = books(winter(24, devices=30, faults=SILENT)), books(winter(24, devices=30, faults=WRONG))

    assert sum(hour.silence_wh for hour in silent) < -100
    assert {hour.clock_wh for hour in silent} == {0.0}
    assert [hour.silence_wh for hour in wrong] == pytest.approx([0.0] * 24, abs=1e-6)
    assert max(abs(hour.clock_wh) for hour in wrong) > 10


def test_after_the_end_values_are_believed_for_a_while() -> None:
    """A run that ends within an hour has a tail there: it grows with now, and the hold is its limit."""
    end_ms = JANUARY_MS + round(5.25 * HOUR_MS)
    tails_wh = [
        books(winter(5.25), now_ms)[-1].tail_wh
        for now_ms in (end_ms, end_ms + HOUR_MS // 4, end_ms + HOUR_MS // 2, LATER_MS)
    ]

    assert tails_wh[0] == 0
    assert tails_wh == sorted(tails_wh)
    assert tails_wh[1] > 0
    assert len(books(winter(5.25))) == 6


def test_delay_repeats_and_order_change_nothing() -> None:
    """Messages that come late, twice or in another order are the same set, and the same books."""
    harmless = FaultOptions(delay_share=0.2, disorder_share=0.2, repeat_share=0.2)
    options = winter(24, faults=harmless)

    assert books(options) == books(replace(options, arrival_seed=7, arrival_window_s=86_400)) == books(winter(24))
