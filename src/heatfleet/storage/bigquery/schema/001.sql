-- The tables of a store. Times are instants; slots are quarters of an hour since 1970 (domain/slots.py).

-- Readings as they were appended, repetitions included, until the rollup has counted them. `batch` is a random number
-- that the rows of one append share: they appear together, so a rollup takes whole batches.
CREATE TABLE IF NOT EXISTS arrival (
  received   TIMESTAMP NOT NULL OPTIONS (description = "when the server asked for the append, by its clock"),
  batch      INT64     NOT NULL,
  device_id  STRING    NOT NULL,
  product_id STRING    NOT NULL,
  code       INT64     NOT NULL OPTIONS (description = "0 instant_power, 1 temp_interior"),
  time       TIMESTAMP NOT NULL,
  value      FLOAT64   NOT NULL OPTIONS (description = "W or °C")
)
PARTITION BY TIMESTAMP_TRUNC(received, HOUR)
CLUSTER BY received
OPTIONS (require_partition_filter = TRUE);

-- Which batches were taken of late, so that none is taken twice.
CREATE TABLE IF NOT EXISTS taken (
  received TIMESTAMP NOT NULL,
  batch    INT64     NOT NULL
)
PARTITION BY TIMESTAMP_TRUNC(received, HOUR)
OPTIONS (require_partition_filter = TRUE);

-- Rows that BigQuery refused, and why: they hold up no others, and nothing is lost.
CREATE TABLE IF NOT EXISTS dead_letter (
  received TIMESTAMP NOT NULL,
  reason   STRING    NOT NULL,
  row_json STRING    NOT NULL
)
PARTITION BY TIMESTAMP_TRUNC(received, DAY);

-- Readings that the figures count. One that was sent twice may lie here twice, and counts once: the greatest value.
CREATE TABLE IF NOT EXISTS reading (
  device_id  STRING    NOT NULL,
  product_id STRING    NOT NULL,
  code       INT64     NOT NULL OPTIONS (description = "0 instant_power, 1 temp_interior"),
  time       TIMESTAMP NOT NULL,
  value      FLOAT64   NOT NULL OPTIONS (description = "W or °C")
)
PARTITION BY TIMESTAMP_TRUNC(time, DAY)
CLUSTER BY device_id
OPTIONS (require_partition_filter = TRUE);

-- Readings of the near future: a device's clock may run ahead. They count when their time has come.
CREATE TABLE IF NOT EXISTS waiting (
  device_id  STRING  NOT NULL,
  product_id STRING  NOT NULL,
  code       INT64   NOT NULL,
  time_ms    INT64   NOT NULL,
  value      FLOAT64 NOT NULL
);

-- Every device as it was last heard of. `number` is the order of first appearance. The last word of a device is open:
-- it counts until the next one, and all before it is settled. `known_slot` is the last slot with known power among
-- what is settled, `known_product_slot` the last one in which it counted for its present product.
CREATE TABLE IF NOT EXISTS device (
  device_id            STRING NOT NULL,
  number               INT64  NOT NULL,
  product_id           STRING NOT NULL,
  first_ms             INT64  NOT NULL,
  last_ms              INT64  NOT NULL,
  first_power_ms       INT64,
  power_ms             INT64,
  power_w              FLOAT64,
  first_temperature_ms INT64,
  temperature_ms       INT64,
  temperature_c        FLOAT64,
  known_slot           INT64,
  known_product_slot   INT64
)
CLUSTER BY device_id;

-- What stands for the readings that were removed: of each device the last moment before those that are kept.
CREATE TABLE IF NOT EXISTS carried (
  device_id     STRING NOT NULL,
  time_ms       INT64  NOT NULL,
  product_id    STRING NOT NULL,
  power_w       FLOAT64 OPTIONS (description = "the value that held then, however old it was"),
  temperature_c FLOAT64
)
CLUSTER BY device_id;

-- Figures of settled words by slot, for each product and, under the name '', for the fleet. A report adds `tail`.
CREATE TABLE IF NOT EXISTS figure (
  slot                 INT64  NOT NULL OPTIONS (description = "quarters of an hour since 1970"),
  product_id           STRING NOT NULL,
  energy_mj            INT64  NOT NULL,
  known_ms             INT64  NOT NULL,
  temperature_mc_ms    INT64  NOT NULL,
  temperature_known_ms INT64  NOT NULL,
  devices              INT64  NOT NULL OPTIONS (description = "devices known in this slot"),
  devices_hour         INT64  NOT NULL OPTIONS (description = "in the 4 slots that end with it"),
  devices_day          INT64  NOT NULL OPTIONS (description = "in the 96 slots that end with it")
)
PARTITION BY RANGE_BUCKET(slot, GENERATE_ARRAY(1051200, 4507200, 2880))
CLUSTER BY product_id;

-- What the open words of all devices add, up to the last rollup; each rollup writes it anew.
CREATE TABLE IF NOT EXISTS tail (
  slot                 INT64  NOT NULL,
  product_id           STRING NOT NULL,
  energy_mj            INT64  NOT NULL,
  known_ms             INT64  NOT NULL,
  temperature_mc_ms    INT64  NOT NULL,
  temperature_known_ms INT64  NOT NULL,
  devices              INT64  NOT NULL,
  devices_hour         INT64  NOT NULL,
  devices_day          INT64  NOT NULL
);

-- One row: how far the figures have come, and who may make them.
CREATE TABLE IF NOT EXISTS head (
  version        INT64     NOT NULL OPTIONS (description = "of these tables"),
  hold_ms        INT64     NOT NULL OPTIONS (description = "the hold the figures stand for; 0 before the first rollup"),
  as_of_ms       INT64     NOT NULL OPTIONS (description = "the instant of the last rollup"),
  taken_until    TIMESTAMP NOT NULL OPTIONS (description = "the newest append taken; an hour before it is looked at"),
  swept_until    TIMESTAMP NOT NULL OPTIONS (description = "appends before this were taken and removed"),
  kept_from_ms   INT64     NOT NULL OPTIONS (description = "readings before this were removed; 0: none ever was"),
  retention_days INT64     NOT NULL,
  devices        INT64     NOT NULL,
  lease_holder   STRING    NOT NULL OPTIONS (description = "which rollup is at work"),
  lease_until    TIMESTAMP NOT NULL
);

MERGE INTO head USING (SELECT 1 AS version) AS made ON head.version = made.version
WHEN NOT MATCHED THEN INSERT (
  version, hold_ms, as_of_ms, taken_until, swept_until, kept_from_ms, retention_days, devices,
  lease_holder, lease_until
) VALUES (
  made.version, 0, 0, TIMESTAMP '1970-01-02 00:00:00+00', TIMESTAMP '1970-01-02 00:00:00+00', 0, 0, 0,
  '', TIMESTAMP '1970-01-01 00:00:00+00'
);
