"""What may be asked for."""

from typing import Any

import pytest

from heatfleet.simulator import FaultOptions, SimulationOptions, SimulatorError
from tests.unit.simulator.conftest import JANUARY_MS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"devices": 0}, "devices is 0"),
        ({"start_ms": JANUARY_MS // 1000}, "milliseconds"),
        ({"end_ms": JANUARY_MS}, "not after the start"),
        ({"speed": 0.0}, "speed"),
        ({"batch_size": 0}, "batch_size"),
        ({"connections": 0}, "connections"),
        ({"seed": -1}, "seeds"),
        ({"first_device": -1}, "first_device"),
        ({"hold_s": 0}, "hold_s"),
    ],
)
def test_nonsense_is_refused_with_its_reason(wrong: dict[str, Any], words: str) -> None:
    """An option without meaning is refused, and the error names it."""
    with pytest.raises(SimulatorError, match=words):
        SimulationOptions(**{"devices": 1, "start_ms": JANUARY_MS, **wrong})


def test_a_share_is_between_none_and_all() -> None:
    """A share of faults below 0 or above 1 is refused by name."""
    with pytest.raises(SimulatorError, match=r"repeat_share is 1\.5"):
        FaultOptions(repeat_share=1.5)


def test_faults_are_none_or_all() -> None:
    """Nothing goes wrong unless asked for; with ``all`` every fault happens now and then."""
    assert not FaultOptions().any
    assert FaultOptions.all().any
    assert all(0 < getattr(FaultOptions.all(), name) < 0.2 for name in FaultOptions.__slots__)
