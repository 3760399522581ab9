-- The newest values of one device between two instants.
SELECT reading.code, MAX(reading.value) AS value
FROM reading
WHERE reading.device_id = @device_id
  AND reading.time >= TIMESTAMP_MILLIS(@since_ms) AND reading.time < TIMESTAMP_MILLIS(@until_ms)
GROUP BY reading.code, reading.time
QUALIFY ROW_NUMBER() OVER (PARTITION BY reading.code ORDER BY reading.time DESC) = 1
