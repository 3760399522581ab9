"""Slots, the base grain of every figure: quarters of an hour, aligned to UTC.

A slot is named by a whole number, the count of quarters since 1970-01-01T00:00Z. Slots are half-open, as is every
interval here: slot ``s`` covers ``[s * SLOT_MS, (s + 1) * SLOT_MS)`` milliseconds since the epoch.
"""

SLOT_S = 900
SLOT_MS = SLOT_S * 1000
SLOTS_PER_HOUR = 4
SLOTS_PER_DAY = 96
HOUR_MS = SLOTS_PER_HOUR * SLOT_MS
DAY_MS = SLOTS_PER_DAY * SLOT_MS


def slot_of(time_ms: int) -> int:
    """The slot that the instant lies in."""
    return time_ms // SLOT_MS
