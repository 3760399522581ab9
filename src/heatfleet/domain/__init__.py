"""The trade, pure: what a message, a slot and a watt-hour mean. No I/O, no clock, no framework."""
