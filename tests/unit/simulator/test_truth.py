"""The energy that was drawn."""

from collections import defaultdict

import numpy as np
import pytest

from heatfleet.simulator.truth import HOUR_MS, Truth
from tests.unit.simulator.conftest import JANUARY_MS


@pytest.mark.parametrize("minutes", [59, 60, 150])
def test_truth_is_what_a_plain_loop_adds_up(minutes: int) -> None:
    """Power x time, device by device and step by step, cut at the hours and at the end, gives the same figures."""
    rng = np.random.default_rng(minutes)
    phase_ms = rng.integers(0, 10_000, 5)
    truth = Truth(phase_ms)
    drawn: dict[int, float] = defaultdict(float)
    said: dict[int, float] = defaultdict(float)
    start_ms = JANUARY_MS + 20 * 60_000
    end_ms = start_ms + minutes * 60_000
    for time_ms in range(start_ms, end_ms, 10_000):
        power_w, said_w = rng.uniform(0, 2000, 5), np.round(rng.uniform(0, 2000, 5))
        truth.record(time_ms, power_w, said_w)
        for device, phase in enumerate(phase_ms.tolist()):
            for begin_ms, stop_ms in pieces(time_ms + phase, min(time_ms + phase + 10_000, end_ms)):
                drawn[begin_ms // HOUR_MS] += power_w[device] * (stop_ms - begin_ms) / HOUR_MS
                said[begin_ms // HOUR_MS] += said_w[device] * (stop_ms - begin_ms) / HOUR_MS

    hours = truth.hours()
    assert hours.keys() == drawn.keys()
    assert {hour: figure.drawn_wh for hour, figure in hours.items()} == pytest.approx(drawn)
    assert {hour: figure.said_wh for hour, figure in hours.items()} == pytest.approx(said)


def pieces(start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """A stretch of time, cut where an hour ends."""
    cut_ms = (start_ms // HOUR_MS + 1) * HOUR_MS
    return [(start_ms, end_ms)] if end_ms <= cut_ms else [(start_ms, cut_ms), (cut_ms, end_ms)]


def test_nothing_lived_is_nothing_drawn() -> None:
    """Before the first step there is nothing but an hour of zero."""
    figures = Truth(np.zeros(3, dtype=np.int64)).hours().values()

    assert [(figure.drawn_wh, figure.said_wh) for figure in figures] == [(0.0, 0.0)]
