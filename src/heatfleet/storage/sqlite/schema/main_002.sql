-- What the newest values will add after as_of_ms is not written ahead any more: the figures are those of as_of_ms.
DROP TABLE ahead;

-- Names stay, states change every minute: apart, each minute writes half as much. The view reads them as one.
CREATE TABLE device_name (
    id   INTEGER PRIMARY KEY,  -- in order of first appearance
    name TEXT    NOT NULL UNIQUE
) STRICT;
INSERT INTO device_name SELECT id, name FROM device ORDER BY id;

CREATE TABLE device_state (
    device         INTEGER PRIMARY KEY,
    product        INTEGER NOT NULL,      -- of its newest reading
    first_ms       INTEGER NOT NULL,      -- time of its oldest and newest reading
    last_ms        INTEGER NOT NULL,
    power_w        REAL,                  -- newest values and their times; NULL where never told
    power_ms       INTEGER,
    temperature_c  REAL,
    temperature_ms INTEGER
) STRICT;
INSERT INTO device_state
SELECT id, product, first_ms, last_ms, power_w, power_ms, temperature_c, temperature_ms
FROM device WHERE first_ms <= last_ms ORDER BY id;

DROP TABLE device;
CREATE VIEW device AS
SELECT id, name, product, first_ms, last_ms, power_w, power_ms, temperature_c, temperature_ms
FROM device_name JOIN device_state ON device_state.device = device_name.id;
