"""What can be known, held against the definition."""

from collections import Counter

import numpy as np
import pytest

from heatfleet.domain.energy import tally
from heatfleet.domain.messages import POWER, TEMPERATURE, Reading
from heatfleet.simulator import SimulatorError
from heatfleet.simulator.knowable import Knowable
from heatfleet.simulator.wire import MESSAGE, NOT_SAID, Messages
from tests.unit.simulator.conftest import HOUR_MS, JANUARY_MS


def rows_of(*said: tuple[int, int, int | None, int | None]) -> Messages:
    """Messages of (device, seconds after the start, W, tenths of °C)."""
    rows = np.zeros(len(said), dtype=MESSAGE)
    for row, (device, second, power_w, tenths_c) in zip(rows, said, strict=True):
        row["device"], row["time_ms"], row["switch"] = device, JANUARY_MS + second * 1000, NOT_SAID
        row["power_w"] = NOT_SAID if power_w is None else power_w
        row["tenths_c"] = NOT_SAID if tenths_c is None else tenths_c
    return rows


def defined_mj(rows: Messages, hold_s: int, now_ms: int) -> dict[int, int]:
    """The definition's energy by hour."""
    hours: Counter[int] = Counter()
    for device in set(rows["device"].tolist()):
        readings = []
        for row in rows[rows["device"] == device]:
            if row["power_w"] != NOT_SAID:
                readings.append(Reading("d", "p", POWER, int(row["time_ms"]), float(row["power_w"])))
            if row["tenths_c"] != NOT_SAID:
                readings.append(Reading("d", "p", TEMPERATURE, int(row["time_ms"]), row["tenths_c"] / 10))
        for (_, slot), cell in tally(readings, hold_ms=hold_s * 1000, now_ms=now_ms).items():
            if cell.known_ms:
                hours[slot // 4] += cell.energy_mj
    return dict(hours)


def by_hour(knowable: Knowable, now_s: int) -> dict[int, float]:
    """Wh by hour after the start."""
    hours = knowable.hours_mj(JANUARY_MS + now_s * 1000)
    return {hour - JANUARY_MS // HOUR_MS: energy_mj / 3.6e6 for hour, energy_mj in hours.items()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("hold_s", [60, 3600, 9000])
def test_any_readings_give_the_definitions_figures(seed: int, hold_s: int) -> None:
    """Random readings, settled in pieces, with equal times and silence: the definition's figures, to the last mJ."""
    rng = np.random.default_rng(seed)
    rows = rows_of(
        *(
            (
                int(rng.integers(4)),
                int(rng.choice([rng.integers(40_000), 3600 * rng.integers(11), rng.integers(50)])),
                int(rng.integers(2500)) if kind != 1 else None,
                200 if kind != 0 else None,
            )
            for kind in rng.integers(3, size=150)
        )
    )
    knowable = Knowable(4, hold_s * 1000)
    for first_s in range(0, 40_000, 5_000):
        until_ms = JANUARY_MS + (first_s + 5_000) * 1000
        part = rows[(rows["time_ms"] < until_ms) & (rows["time_ms"] >= until_ms - 5_000_000)]
        knowable.add(part)
        knowable.add(part[::-1])
        knowable.settle(until_ms - 1_000_000)

    for now_s in (40_000, 41_234, 100_000):
        now_ms = JANUARY_MS + now_s * 1000
        assert knowable.hours_mj(now_ms) == defined_mj(rows, hold_s, now_ms)


def test_temperature_keeps_power_alive() -> None:
    """A temperature proves the device alive, and the last power goes on."""
    knowable = Knowable(1, HOUR_MS)
    knowable.add(rows_of((0, 0, 1500, 200), *((0, second, None, 200) for second in range(300, 10_800, 300))))

    assert by_hour(knowable, 10_800) == {0: 1500, 1: 1500, 2: 1500}


def test_silence_ends_after_the_hold() -> None:
    """A last value is believed for an hour, also over the edge of an hour, and then nothing is known."""
    knowable = Knowable(1, HOUR_MS)
    knowable.add(rows_of((0, 1800, 1000, None)))

    assert by_hour(knowable, 86_400) == {0: 500, 1: 500}


def test_of_two_values_the_greater_counts() -> None:
    """Two powers for one moment are one, the greater; in whatever order they come."""
    knowable = Knowable(1, HOUR_MS)
    knowable.add(rows_of((0, 0, 900, None), (0, 0, 1200, None), (0, 0, 300, 200)))

    assert by_hour(knowable, 3600) == {0: 1200}


def test_nothing_is_known_before_power_was_said() -> None:
    """Temperature alone gives no energy, not even a zero; a switch alone is no reading at all."""
    knowable = Knowable(1, HOUR_MS)
    knowable.add(rows_of((0, 0, None, 200), (0, 60, None, None)))
    assert by_hour(knowable, 3600) == {}

    knowable.add(rows_of((0, 1800, 0, None)))
    assert by_hour(knowable, 3600) == {0: 0}


def test_settled_is_settled() -> None:
    """A reading older than what was settled is an error, and so is asking for a moment before it."""
    knowable = Knowable(1, HOUR_MS)
    knowable.add(rows_of((0, 100, 900, None)))
    knowable.settle(JANUARY_MS + 200_000)
    with pytest.raises(SimulatorError, match="settled since"):
        knowable.hours_mj(JANUARY_MS)

    knowable.add(rows_of((0, 50, 900, None)))
    with pytest.raises(SimulatorError, match="truth cannot be told"):
        knowable.settle(JANUARY_MS + 300_000)
