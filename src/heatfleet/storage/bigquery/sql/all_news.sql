-- Every reading that is kept, as if it were new.
SELECT
  reading.device_id, reading.code, UNIX_MILLIS(reading.time) AS time_ms, MAX(reading.value) AS value,
  MAX(reading.product_id) AS product_id
FROM reading
WHERE reading.time >= TIMESTAMP_MILLIS(@kept_from_ms)
GROUP BY reading.device_id, reading.code, time_ms
