"""The fast door: uvicorn's HTTP protocol, taught to answer plain ``POST /message`` itself and to keep limits.

Everything else goes to uvicorn and the framework as ever, on the same port. This is the one place that leans on a
library's insides (uvicorn's ``HttpToolsProtocol``); without it the server is slower and has fewer limits, and gives
the same answers. ``door.py`` answers plain requests, ``heads.py`` knows which these are, ``guard.py`` holds every
connection to deadlines and limits, ``hall.py`` is what all connections share.
"""

from heatfleet.api.door.door import Door
from heatfleet.api.door.hall import Hall, Limits, allow_many_files, connections_max

__all__ = ["Door", "Hall", "Limits", "allow_many_files", "connections_max"]
