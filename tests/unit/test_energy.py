"""The definition of energy, by the examples that people get wrong and by its laws."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatfleet.domain.energy import energy_mj, segments, tally, temperature_mc_ms
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.domain.slots import HOUR_MS, SLOT_MS

MINUTE_MS = 60_000
DAY_START_MS = 1_732_579_200_000  # 2024-11-26T00:00Z
FAR_LATER_MS = DAY_START_MS + 48 * HOUR_MS


def at(clock: str) -> int:
    """The instant of a time of day, as ``"10:30"``."""
    hours, minutes = clock.split(":")
    return DAY_START_MS + int(hours) * HOUR_MS + int(minutes) * MINUTE_MS


def power(clock: str, value_w: float, product: str = "p") -> Reading:
    return Reading("a", product, POWER, at(clock), value_w)


def temperature(clock: str, value_c: float, product: str = "p") -> Reading:
    return Reading("a", product, TEMPERATURE, at(clock), value_c)


def energy_wh_by_hour(readings: Iterable[Reading], *, now_ms: int = FAR_LATER_MS) -> dict[int, float]:
    """Energy by hour of the day; hours in which the device was never known are absent."""
    hours: dict[int, int] = {}
    for (_, slot), cell in tally(readings, hold_ms=HOUR_MS, now_ms=now_ms).items():
        if cell.known_ms:
            hour = slot * SLOT_MS // HOUR_MS - DAY_START_MS // HOUR_MS
            hours[hour] = hours.get(hour, 0) + cell.energy_mj
    return {hour: total_mj / 3_600_000 for hour, total_mj in sorted(hours.items())}


def test_temperature_keeps_a_device_alive() -> None:
    """10:00 1500 W, temperature every 5 min, 13:00 0 W: each hour between has 1500 Wh."""
    readings = [power("10:00", 1500), power("13:00", 0)]
    readings += [temperature(f"{10 + minute // 60}:{minute % 60:02}", 20) for minute in range(5, 180, 5)]

    assert energy_wh_by_hour(readings) == {10: 1500, 11: 1500, 12: 1500, 13: 0}


def test_silence_is_held_for_an_hour_and_then_unknown() -> None:
    """10:30 1000 W, then silence: half an hour in each of two hours, no figure for the third."""
    assert energy_wh_by_hour([power("10:30", 1000)]) == {10: 500, 11: 500}


def test_the_old_value_holds_until_the_new_one() -> None:
    """10:50 0 W, 11:10 2400 W, 11:20 0 W: nothing in the first hour, ten minutes at 2400 W in the second."""
    readings = [power("10:50", 0), power("11:10", 2400), power("11:20", 0)]

    assert energy_wh_by_hour(readings) == {10: 0, 11: 400, 12: 0}


def test_now_cuts_the_last_segment() -> None:
    """The open hour counts up to now."""
    assert energy_wh_by_hour([power("10:30", 1000)], now_ms=at("10:45")) == {10: 250}


def test_power_is_unknown_before_it_was_first_told() -> None:
    """A device that only told its temperature has known temperature and unknown power."""
    readings = [temperature("10:00", 20), power("10:30", 1000)]
    cells = tally(readings, hold_ms=HOUR_MS, now_ms=at("11:00"))

    assert [cell.known_ms for cell in cells.values()] == [0, 0, 15 * MINUTE_MS, 15 * MINUTE_MS]
    assert [cell.temperature_known_ms for cell in cells.values()] == [15 * MINUTE_MS] * 4


def test_an_old_power_holds_after_a_gap() -> None:
    """After an unknown gap any reading proves the device alive, and its power is the newest told, however old."""
    readings = [power("08:00", 1000), temperature("12:00", 20)]

    assert energy_wh_by_hour(readings) == {8: 1000, 12: 1000}


def test_of_two_values_for_one_instant_the_greater_counts() -> None:
    """A contradiction has one answer, whichever came first."""
    readings = [power("10:00", 300), power("10:00", 900)]

    assert {10: 900} == energy_wh_by_hour(readings) == energy_wh_by_hour(reversed(readings))


def test_a_segment_counts_for_the_product_that_opens_it() -> None:
    """A change of product counts from the reading on that names it; of equal times the greatest name counts."""
    readings = [power("10:00", 1000, "p"), temperature("10:15", 20, "r"), power("10:15", 1000, "q")]
    cells = tally(readings, hold_ms=HOUR_MS, now_ms=at("10:30"))

    assert [product for product, _ in cells] == ["p", "r"]


def test_each_piece_is_rounded_alone_half_up() -> None:
    """Half a millijoule counts as a whole one, also below zero degrees."""
    assert [energy_mj(0.5, 1), energy_mj(0.499, 1), temperature_mc_ms(-0.0015, 1)] == [1, 0, -1]


clocks_ms = st.integers(at("00:00"), at("23:59"))
readings_ = st.builds(
    Reading,
    st.just("a"),
    st.sampled_from("pq"),
    st.sampled_from([POWER, TEMPERATURE]),
    clocks_ms,
    st.floats(0, 3000, allow_nan=False).map(lambda value: round(value, 2)),
)
lives = st.lists(readings_, max_size=30)


@given(lives, st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(life: list[Reading], dice: object) -> None:
    """Readings are a set: shuffled, split and repeated they give the same sums."""
    shuffled = [*life, *life[::2]]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]

    assert tally(life, hold_ms=HOUR_MS, now_ms=FAR_LATER_MS) == tally(shuffled, hold_ms=HOUR_MS, now_ms=FAR_LATER_MS)


@given(lives, clocks_ms)
def test_the_sum_over_slots_is_the_integral(life: list[Reading], now_ms: int) -> None:
    """Cutting at slot edges loses nothing: the sums equal the uncut integral, but for half a millijoule a piece."""
    parts = list(segments(life, hold_ms=HOUR_MS, now_ms=now_ms))
    cells = tally(life, hold_ms=HOUR_MS, now_ms=now_ms).values()
    integral_mj = math.fsum((part.power_w or 0) * (part.end_ms - part.start_ms) for part in parts)
    pieces = 6 * len(parts)

    assert sum(cell.energy_mj for cell in cells) == pytest.approx(integral_mj, rel=1e-9, abs=0.5 * pieces)
    assert sum(cell.known_ms for cell in cells) == sum(
        part.end_ms - part.start_ms for part in parts if part.power_w is not None
    )


@given(lives)
def test_energy_is_never_more_than_the_greatest_power_all_the_known_time(life: list[Reading]) -> None:
    """0 <= energy <= greatest power x known time, in every slot, and no slot knows more than it is long."""
    greatest_w = max((reading.value for reading in life if reading.code == POWER), default=0)
    for cell in tally(life, hold_ms=HOUR_MS, now_ms=FAR_LATER_MS).values():
        pieces = 31

        assert 0 <= cell.energy_mj <= greatest_w * cell.known_ms + pieces
        assert 0 <= cell.known_ms <= SLOT_MS


@given(lives, readings_)
def test_one_more_reading_never_makes_less_known(life: list[Reading], one: Reading) -> None:
    """Knowledge only grows: known time with a reading more is at least what it was."""

    def known_ms(readings: list[Reading]) -> int:
        return sum(cell.known_ms for cell in tally(readings, hold_ms=HOUR_MS, now_ms=FAR_LATER_MS).values())

    assert known_ms(life) <= known_ms([*life, one])
