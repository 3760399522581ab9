-- The devices that are heard of between two instants: what they were before, and the newest of what is new.
-- A device is `late` if it says something of a time before its last word, or goes by another product from now on.
WITH said AS (
  SELECT
    news.device_id, news.code, news.time_ms, news.value, news.product_id,
    MAX(news.time_ms) OVER (PARTITION BY news.device_id) AS last_ms,
    MAX(news.time_ms) OVER (PARTITION BY news.device_id, news.code) AS last_of_code_ms
  FROM work_news AS news
  WHERE news.time_ms >= @from_ms AND news.time_ms < @to_ms
),
newest AS (
  SELECT
    said.device_id,
    MIN(said.time_ms) AS new_first_ms,
    MAX(said.time_ms) AS new_last_ms,
    MIN(said.product_id) AS new_least_product_id,
    MAX(said.product_id) AS new_greatest_product_id,
    MAX(IF(said.time_ms = said.last_ms, said.product_id, NULL)) AS new_product_id,
    MIN(IF(said.code = 0, said.time_ms, NULL)) AS new_first_power_ms,
    MAX(IF(said.code = 0, said.time_ms, NULL)) AS new_power_ms,
    MAX(IF(said.code = 0 AND said.time_ms = said.last_of_code_ms, said.value, NULL)) AS new_power_w,
    MIN(IF(said.code = 1, said.time_ms, NULL)) AS new_first_temperature_ms,
    MAX(IF(said.code = 1, said.time_ms, NULL)) AS new_temperature_ms,
    MAX(IF(said.code = 1 AND said.time_ms = said.last_of_code_ms, said.value, NULL)) AS new_temperature_c
  FROM said
  GROUP BY said.device_id
)
SELECT
  newest.device_id, newest.new_first_ms, newest.new_last_ms, newest.new_product_id,
  newest.new_first_power_ms, newest.new_power_ms, newest.new_power_w,
  newest.new_first_temperature_ms, newest.new_temperature_ms, newest.new_temperature_c,
  device.number, device.product_id, device.first_ms, device.last_ms,
  device.first_power_ms, device.power_ms, device.power_w,
  device.first_temperature_ms, device.temperature_ms, device.temperature_c,
  device.known_slot, device.known_product_slot,
  device.device_id IS NOT NULL AND (
    newest.new_first_ms <= device.last_ms
    OR newest.new_least_product_id != device.product_id
    OR newest.new_greatest_product_id != device.product_id
  ) AS late
FROM newest
LEFT JOIN device ON device.device_id = newest.device_id
