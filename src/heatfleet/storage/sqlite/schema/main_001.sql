-- Devices, products and figures. Written by the rollup alone. The figures can be made again from the readings; the
-- numbers of devices and products cannot, and the day files are nothing without them: keep the files together.
CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
--   store         a random number that the files of one store share
--   hold_ms       how long a silent device is still believed, as the figures here were reckoned
--   reckoned_seq  the last journal row that the figures count
--   as_of_ms      the instant up to which they count
INSERT INTO setting VALUES ('store', abs(random() >> 1));

CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO product VALUES (0, '');  -- stands for the whole fleet

CREATE TABLE device (
    id             INTEGER PRIMARY KEY,   -- in order of first appearance
    name           TEXT    NOT NULL UNIQUE,
    product        INTEGER NOT NULL,      -- of its newest reading
    first_ms       INTEGER NOT NULL,      -- time of its oldest and newest reading
    last_ms        INTEGER NOT NULL,
    power_w        REAL,                  -- newest values and their times; NULL where never told
    power_ms       INTEGER,
    temperature_c  REAL,
    temperature_ms INTEGER
) STRICT;

-- Exact sums by quarter of an hour (slot = seconds since 1970 / 900); product 0 is the whole fleet.
CREATE TABLE slot_sum (
    slot                 INTEGER NOT NULL,
    product              INTEGER NOT NULL,
    energy_mj            INTEGER NOT NULL,  -- millijoules
    known_ms             INTEGER NOT NULL,  -- device-milliseconds with known power
    temperature_mc_ms    INTEGER NOT NULL,  -- (deg C / 1000) x ms
    temperature_known_ms INTEGER NOT NULL,
    devices              INTEGER NOT NULL DEFAULT 0,  -- distinct devices with known power in this slot,
    devices_hour         INTEGER NOT NULL DEFAULT 0,  --   in the 4 slots that end with it,
    devices_day          INTEGER NOT NULL DEFAULT 0,  --   in the 96 slots that end with it
    PRIMARY KEY (product, slot)  -- a report reads one product, or the fleet, over a range
) STRICT, WITHOUT ROWID;

-- What the newest values will add after as_of_ms if no device speaks again: the part of slot_sum still to come.
CREATE TABLE ahead (
    slot                 INTEGER NOT NULL,
    product              INTEGER NOT NULL,
    energy_mj            INTEGER NOT NULL,
    known_ms             INTEGER NOT NULL,
    temperature_mc_ms    INTEGER NOT NULL,
    temperature_known_ms INTEGER NOT NULL,
    PRIMARY KEY (slot, product)
) STRICT, WITHOUT ROWID;

-- Which devices' power was known in a slot: bit n of the zlib-compressed map is device n.
CREATE TABLE heard (
    slot    INTEGER NOT NULL,
    product INTEGER NOT NULL,
    devices BLOB    NOT NULL,
    PRIMARY KEY (slot, product)
) STRICT, WITHOUT ROWID;

-- Readings whose time has not come yet: a device's clock may run up to 300 s ahead.
CREATE TABLE early (
    device  INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    code    INTEGER NOT NULL,
    value   REAL    NOT NULL,
    product INTEGER NOT NULL
) STRICT;

-- Readings that the figures count but that are not yet in their day's file: those of the open hour, and for a moment
-- late ones. The layout of `body` is described in runs.py.
CREATE TABLE run (
    id       INTEGER PRIMARY KEY,
    hour     INTEGER NOT NULL,  -- since 1970
    part     INTEGER NOT NULL,  -- device >> 15
    readings INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE INDEX run_by_hour ON run (hour, part);

-- For people with a SQL prompt.
CREATE VIEW energy_by_quarter AS
SELECT strftime('%Y-%m-%dT%H:%MZ', slot * 900, 'unixepoch') AS start_utc, name AS product_id,
       energy_mj / 3600000.0 AS energy_wh,
       temperature_mc_ms / 1000.0 / nullif(temperature_known_ms, 0) AS temperature_c,
       known_ms / 1000.0 AS known_s, devices
FROM slot_sum JOIN product ON product.id = slot_sum.product
WHERE known_ms > 0 OR temperature_known_ms > 0;

CREATE VIEW energy_by_hour AS
SELECT strftime('%Y-%m-%dT%H:00Z', slot * 900, 'unixepoch') AS start_utc, name AS product_id,
       sum(energy_mj) / 3600000.0 AS energy_wh,
       sum(temperature_mc_ms) / 1000.0 / nullif(sum(temperature_known_ms), 0) AS temperature_c,
       sum(known_ms) / 1000.0 AS known_s
FROM slot_sum JOIN product ON product.id = slot_sum.product
WHERE known_ms > 0 OR temperature_known_ms > 0
GROUP BY slot / 4, product;
