-- What late devices said before, between two instants. In front of it stands what is known from before the first: their
-- last word if it is older; or else, more than a day before so that no count reaches on, that there were values. Which
-- ones only their newest tell, and before the late words begin it does not matter: the difference is nothing there.
-- Where all that is kept was asked for, there is what stands for removed readings.
SELECT
  reading.device_id, UNIX_MILLIS(reading.time) AS time_ms, MAX(reading.product_id) AS product_id,
  MAX(IF(reading.code = 0, reading.value, NULL)) AS power_w,
  MAX(IF(reading.code = 1, reading.value, NULL)) AS temperature_c
FROM reading
JOIN work_touched AS touched ON touched.device_id = reading.device_id
WHERE touched.late
  AND reading.time >= TIMESTAMP_MILLIS(@since_ms) AND reading.time < TIMESTAMP_MILLIS(@until_ms)
GROUP BY reading.device_id, time_ms
UNION ALL
SELECT carried.device_id, carried.time_ms, carried.product_id, carried.power_w, carried.temperature_c
FROM carried
JOIN work_touched AS touched ON touched.device_id = carried.device_id
WHERE touched.late AND @all_kept
UNION ALL
SELECT
  touched.device_id, IF(touched.last_ms < @since_ms, touched.last_ms, @since_ms - @hold_ms - 97 * 900000) AS time_ms,
  touched.product_id,
  IF(touched.first_power_ms < @since_ms, touched.power_w, NULL) AS power_w,
  IF(touched.first_temperature_ms < @since_ms, touched.temperature_c, NULL) AS temperature_c
FROM work_touched AS touched
WHERE touched.late AND NOT @all_kept
  AND (
    touched.last_ms < @since_ms OR touched.first_power_ms < @since_ms OR touched.first_temperature_ms < @since_ms
  )
