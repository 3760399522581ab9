"""What a run of the benchmarks is asked for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """``None`` leaves a size to the benchmark; a quick run takes about a second a measurement and means nothing."""

    quick: bool = False
    devices: int | None = None
    readings: int | None = None
    hours: int = 24
    minutes: float = 60

    def size(self, asked: int | None, usual: int, quick: int) -> int:
        """A size that was asked for, or the one for this kind of run."""
        return asked or (quick if self.quick else usual)

    @property
    def patience_s(self) -> float:
        """How long a measurement waits for a quiet machine."""
        return 0 if self.quick else 30
