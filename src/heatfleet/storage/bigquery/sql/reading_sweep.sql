-- Whole days of readings, which BigQuery drops without reading them.
DELETE FROM reading WHERE reading.time < TIMESTAMP_MILLIS(@before_ms)
