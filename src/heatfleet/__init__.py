"""Heatfleet: the open energy service for fleets of connected electric heaters."""

__version__ = "0.1.0"
