"""A fleet of heaters that never was, to try a service with: true physics, faults, and a known true energy.

It is deaf and blind to the service's code and speaks HTTP like a device. Each file does one thing:

``options``   what to simulate                   ``dice``     chance that can be repeated
``weather``   season, day and hour               ``homes``    rooms, people, thermostats: the physics
``device``    what a device says of it           ``faults``   what goes wrong on the way
``wire``      messages as rows and as JSON       ``fleet``    all of it, in order of arrival
``truth``     the energy that was drawn          ``knowable`` the energy that can be known
``account``   the books of both, by hour         ``verify``   holds the report against them
``post``      batches to POST /message           ``orders``   server-sent orders to the fleet
``run``       history, then live                 ``clock``    wall time as an argument
"""

from heatfleet.simulator.account import Account, HourAccount
from heatfleet.simulator.clock import Clock
from heatfleet.simulator.errors import SimulatorError
from heatfleet.simulator.fleet import Batch, Fleet
from heatfleet.simulator.options import FaultOptions, SimulationOptions
from heatfleet.simulator.post import Posted
from heatfleet.simulator.run import Progress, SimulationResult, run
from heatfleet.simulator.verify import HourDifference, VerifyResult, check_alone, compare, verify

__all__ = [
    "Account",
    "Batch",
    "Clock",
    "FaultOptions",
    "Fleet",
    "HourAccount",
    "HourDifference",
    "Posted",
    "Progress",
    "SimulationOptions",
    "SimulationResult",
    "SimulatorError",
    "VerifyResult",
    "check_alone",
    "compare",
    "run",
    "verify",
]
