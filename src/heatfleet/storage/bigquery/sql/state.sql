-- The devices heard of, as they are now. Those who are new are numbered after the others, in order of their names. For
-- late devices that were reckoned up to their last word the known slots are those reckoned, or of removed readings.
WITH newest AS (
  SELECT
    touched.device_id, touched.number, touched.late, touched.product_id AS old_product_id,
    touched.known_slot, touched.known_product_slot,
    CASE
      WHEN touched.last_ms IS NULL OR touched.new_last_ms > touched.last_ms THEN touched.new_product_id
      WHEN touched.new_last_ms = touched.last_ms THEN GREATEST(touched.product_id, touched.new_product_id)
      ELSE touched.product_id
    END AS product_id,
    LEAST(COALESCE(touched.first_ms, touched.new_first_ms), touched.new_first_ms) AS first_ms,
    GREATEST(COALESCE(touched.last_ms, touched.new_last_ms), touched.new_last_ms) AS last_ms,
    LEAST(
      COALESCE(touched.first_power_ms, touched.new_first_power_ms),
      COALESCE(touched.new_first_power_ms, touched.first_power_ms)
    ) AS first_power_ms,
    GREATEST(
      COALESCE(touched.power_ms, touched.new_power_ms), COALESCE(touched.new_power_ms, touched.power_ms)
    ) AS power_ms,
    CASE
      WHEN touched.new_power_ms IS NULL OR touched.new_power_ms < touched.power_ms THEN touched.power_w
      WHEN touched.new_power_ms = touched.power_ms THEN GREATEST(touched.power_w, touched.new_power_w)
      ELSE touched.new_power_w
    END AS power_w,
    LEAST(
      COALESCE(touched.first_temperature_ms, touched.new_first_temperature_ms),
      COALESCE(touched.new_first_temperature_ms, touched.first_temperature_ms)
    ) AS first_temperature_ms,
    GREATEST(
      COALESCE(touched.temperature_ms, touched.new_temperature_ms),
      COALESCE(touched.new_temperature_ms, touched.temperature_ms)
    ) AS temperature_ms,
    CASE
      WHEN touched.new_temperature_ms IS NULL OR touched.new_temperature_ms < touched.temperature_ms
        THEN touched.temperature_c
      WHEN touched.new_temperature_ms = touched.temperature_ms
        THEN GREATEST(touched.temperature_c, touched.new_temperature_c)
      ELSE touched.new_temperature_c
    END AS temperature_c
  FROM work_touched AS touched
),
known AS (
  SELECT
    newest.device_id,
    MAX(piece.slot) AS slot,
    MAX(IF(piece.product_id = newest.product_id, piece.slot, NULL)) AS product_slot
  FROM newest
  JOIN work_piece AS piece ON piece.device_id = newest.device_id
  WHERE piece.sign = 1 AND piece.known_ms > 0
  GROUP BY newest.device_id
)
SELECT
  newest.device_id,
  COALESCE(
    newest.number,
    (SELECT COALESCE(MAX(device.number), 0) FROM device)
      + ROW_NUMBER() OVER (PARTITION BY newest.number IS NULL ORDER BY newest.device_id)
  ) AS number,
  newest.product_id, newest.first_ms, newest.last_ms,
  newest.first_power_ms, newest.power_ms, newest.power_w,
  newest.first_temperature_ms, newest.temperature_ms, newest.temperature_c,
  IF(
    newest.late AND reach.clip_slot IS NULL,
    COALESCE(known.slot, IF(newest.known_slot < @kept_slot, newest.known_slot, NULL)),
    GREATEST(COALESCE(newest.known_slot, known.slot), COALESCE(known.slot, newest.known_slot))
  ) AS known_slot,
  IF(
    newest.late AND reach.clip_slot IS NULL,
    COALESCE(
      known.product_slot,
      IF(newest.product_id = newest.old_product_id AND newest.known_product_slot < @kept_slot,
        newest.known_product_slot, NULL)
    ),
    GREATEST(
      COALESCE(newest.known_product_slot, known.product_slot), COALESCE(known.product_slot, newest.known_product_slot)
    )
  ) AS known_product_slot
FROM newest
LEFT JOIN known ON known.device_id = newest.device_id
LEFT JOIN work_reach AS reach ON reach.device_id = newest.device_id
