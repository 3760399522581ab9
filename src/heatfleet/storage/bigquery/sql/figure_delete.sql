-- Figures that can be made again from the readings that are kept.
DELETE FROM figure WHERE figure.slot >= @first_slot
