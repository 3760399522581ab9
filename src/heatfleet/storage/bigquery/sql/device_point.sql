-- What one device said, moment by moment; in front of it stands what is known from before the first.
SELECT
  1 AS sign, reading.device_id, UNIX_MILLIS(reading.time) AS time_ms, MAX(reading.product_id) AS product_id,
  MAX(IF(reading.code = 0, reading.value, NULL)) AS power_w,
  MAX(IF(reading.code = 1, reading.value, NULL)) AS temperature_c,
  @until_ms AS open_until_ms
FROM reading
WHERE reading.device_id = @device_id
  AND reading.time >= TIMESTAMP_MILLIS(@since_ms) AND reading.time < TIMESTAMP_MILLIS(@until_ms)
GROUP BY reading.device_id, time_ms
UNION ALL
SELECT
  1 AS sign, carried.device_id, carried.time_ms, carried.product_id, carried.power_w, carried.temperature_c,
  @until_ms AS open_until_ms
FROM carried
WHERE carried.device_id = @device_id AND @all_kept
UNION ALL
SELECT
  1 AS sign, device.device_id, @since_ms - @hold_ms - 1 AS time_ms, device.product_id, @power_w AS power_w,
  @temperature_c AS temperature_c, @until_ms AS open_until_ms
FROM device
WHERE device.device_id = @device_id AND (@power_w IS NOT NULL OR @temperature_c IS NOT NULL)
