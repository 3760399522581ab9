"""What can go wrong in a simulation."""

from heatfleet.errors import HeatfleetError


class SimulatorError(HeatfleetError):
    """A simulation cannot start or go on; the message names what to change. Nothing is retried by itself."""
