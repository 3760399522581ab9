"""Orders to the heaters: write down, hand to the bus, note what became of them, and show them to those who listen.

``desk``       where orders are given       ``listener``   who hears of them
``follower``   how they hear of those of other servers
``refusals``   orders that were refused, on their way into the audit trail
"""

from heatfleet.commands.desk import UNKNOWN_ORDER, CommandDesk, Outcome, told
from heatfleet.commands.listener import WAITING_MAX, Listener
from heatfleet.commands.refusals import NOTES_MAX, NOTES_PER_MIN

__all__ = ["NOTES_MAX", "NOTES_PER_MIN", "UNKNOWN_ORDER", "WAITING_MAX", "CommandDesk", "Listener", "Outcome", "told"]
