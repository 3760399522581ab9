-- The last moment of each device before an instant, with the values that held then, stands for all that is removed.
MERGE INTO carried USING (
  WITH said AS (
    SELECT
      reading.device_id, UNIX_MILLIS(reading.time) AS time_ms, MAX(reading.product_id) AS product_id,
      MAX(IF(reading.code = 0, reading.value, NULL)) AS power_w,
      MAX(IF(reading.code = 1, reading.value, NULL)) AS temperature_c
    FROM reading
    WHERE reading.time >= TIMESTAMP_MILLIS(@kept_from_ms) AND reading.time < TIMESTAMP_MILLIS(@before_ms)
    GROUP BY reading.device_id, time_ms
    UNION ALL
    SELECT before.device_id, before.time_ms, before.product_id, before.power_w, before.temperature_c
    FROM carried AS before
  )
  SELECT
    said.device_id, said.time_ms, said.product_id,
    LAST_VALUE(said.power_w IGNORE NULLS) OVER so_far AS power_w,
    LAST_VALUE(said.temperature_c IGNORE NULLS) OVER so_far AS temperature_c
  FROM said
  WHERE TRUE
  QUALIFY LEAD(said.time_ms) OVER (PARTITION BY said.device_id ORDER BY said.time_ms) IS NULL
  WINDOW so_far AS (
    PARTITION BY said.device_id ORDER BY said.time_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
) AS last
ON carried.device_id = last.device_id
WHEN MATCHED THEN UPDATE SET
  time_ms = last.time_ms, product_id = last.product_id, power_w = last.power_w, temperature_c = last.temperature_c
WHEN NOT MATCHED THEN INSERT (device_id, time_ms, product_id, power_w, temperature_c)
VALUES (last.device_id, last.time_ms, last.product_id, last.power_w, last.temperature_c)
