-- Figures by slot: settled words, and the open ones up to now. Many rows come as one text, since each row fetched
-- costs the server more than all of its numbers. The first row tells up to when all is counted.
WITH share AS (
  SELECT
    figure.slot, figure.energy_mj, figure.known_ms, figure.temperature_mc_ms, figure.temperature_known_ms,
    figure.devices, figure.devices_hour, figure.devices_day
  FROM figure
  WHERE figure.product_id = @product_id AND figure.slot >= @first_slot AND figure.slot < @end_slot
  UNION ALL
  SELECT
    tail.slot, tail.energy_mj, tail.known_ms, tail.temperature_mc_ms, tail.temperature_known_ms,
    tail.devices, tail.devices_hour, tail.devices_day
  FROM tail
  WHERE tail.product_id = @product_id AND tail.slot >= @first_slot AND tail.slot < @end_slot
),
total AS (
  SELECT
    share.slot, SUM(share.energy_mj) AS energy_mj, SUM(share.known_ms) AS known_ms,
    SUM(share.temperature_mc_ms) AS temperature_mc_ms, SUM(share.temperature_known_ms) AS temperature_known_ms,
    SUM(share.devices) AS devices, SUM(share.devices_hour) AS devices_hour, SUM(share.devices_day) AS devices_day
  FROM share
  WHERE share.slot < (SELECT (DIV(head.as_of_ms, 3600000) + 1) * 4 FROM head)
  GROUP BY share.slot
)
SELECT
  DIV(total.slot, 4096) AS part,
  STRING_AGG(
    CONCAT(
      CAST(total.slot AS STRING), ' ', CAST(total.energy_mj AS STRING), ' ', CAST(total.known_ms AS STRING), ' ',
      CAST(total.temperature_mc_ms AS STRING), ' ', CAST(total.temperature_known_ms AS STRING), ' ',
      CAST(total.devices AS STRING), ' ', CAST(total.devices_hour AS STRING), ' ', CAST(total.devices_day AS STRING)
    ), ' ' ORDER BY total.slot
  ) AS packed
FROM total
GROUP BY part
UNION ALL
SELECT -1 AS part, CAST(head.as_of_ms AS STRING) AS packed FROM head
ORDER BY part
