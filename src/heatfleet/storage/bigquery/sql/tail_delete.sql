-- What open words counted at the last rollup.
DELETE FROM tail WHERE tail.slot >= 0
