"""What `heatfleet doctor` tells of."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: how it is, what was found, and what to do where it is not ok."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""
