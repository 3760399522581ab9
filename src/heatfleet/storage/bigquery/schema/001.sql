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

-- One row: of which version these tables are.
CREATE TABLE IF NOT EXISTS head (
  version INT64 NOT NULL OPTIONS (description = "of these tables")
);

MERGE INTO head USING (SELECT 1 AS version) AS made ON head.version = made.version
WHEN NOT MATCHED THEN INSERT (version) VALUES (made.version);
