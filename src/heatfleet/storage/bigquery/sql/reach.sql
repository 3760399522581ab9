-- Whether what was read of each late device suffices. Back: its values must be known where segments begin to matter,
-- a hold before the slot of what is new. Ahead: once it has said all anew that the late words say, a day later nothing
-- differs any more, and from `clip_slot` on nothing is reckoned; else all up to its last word is needed.
WITH seen AS (
  SELECT
    touched.device_id, touched.last_ms, touched.first_power_ms, touched.power_ms,
    touched.first_temperature_ms, touched.temperature_ms, touched.new_power_ms, touched.new_temperature_ms,
    GREATEST(
      DIV(touched.new_first_ms, 900000) * 900000 - @hold_ms,
      LEAST(
        touched.new_first_ms, COALESCE(MIN(IF(old.time_ms >= @since_ms, old.time_ms, NULL)), touched.new_first_ms)
      )
    ) AS matters_ms,
    MIN(IF(old.power_w IS NOT NULL AND old.time_ms >= @since_ms, old.time_ms, NULL)) AS power_seen_ms,
    MIN(IF(old.temperature_c IS NOT NULL AND old.time_ms >= @since_ms, old.time_ms, NULL)) AS temperature_seen_ms,
    MIN(IF(old.time_ms > touched.new_last_ms, old.time_ms, NULL)) AS next_ms,
    MIN(IF(old.time_ms > touched.new_last_ms AND old.power_w IS NOT NULL, old.time_ms, NULL)) AS next_power_ms,
    MIN(IF(old.time_ms > touched.new_last_ms AND old.temperature_c IS NOT NULL, old.time_ms, NULL))
      AS next_temperature_ms
  FROM work_touched AS touched
  LEFT JOIN work_old AS old ON old.device_id = touched.device_id
  WHERE touched.late
  GROUP BY
    touched.device_id, touched.last_ms, touched.first_power_ms, touched.power_ms, touched.first_temperature_ms,
    touched.temperature_ms, touched.new_power_ms, touched.new_temperature_ms, touched.new_first_ms, touched.new_last_ms
),
resumed AS (
  SELECT
    seen.device_id,
    NOT @all_kept AND (
      COALESCE(seen.first_power_ms < @since_ms AND seen.power_ms >= @since_ms, FALSE)
        AND NOT COALESCE(seen.power_seen_ms <= seen.matters_ms, FALSE)
      OR COALESCE(seen.first_temperature_ms < @since_ms AND seen.temperature_ms >= @since_ms, FALSE)
        AND NOT COALESCE(seen.temperature_seen_ms <= seen.matters_ms, FALSE)
    ) AS needs_back,
    seen.last_ms >= @until_ms AS goes_on,
    CASE
      WHEN seen.next_ms IS NULL THEN NULL
      WHEN seen.new_power_ms IS NOT NULL AND seen.next_power_ms IS NULL THEN NULL
      WHEN seen.new_temperature_ms IS NOT NULL AND seen.next_temperature_ms IS NULL THEN NULL
      ELSE GREATEST(
        seen.next_ms,
        IF(seen.new_power_ms IS NULL, seen.next_ms, seen.next_power_ms),
        IF(seen.new_temperature_ms IS NULL, seen.next_ms, seen.next_temperature_ms)
      )
    END AS resumed_ms
  FROM seen
)
SELECT
  resumed.device_id,
  resumed.needs_back,
  resumed.goes_on AND COALESCE((DIV(resumed.resumed_ms, 900000) + 96) * 900000 > @until_ms, TRUE) AS needs_ahead,
  IF(resumed.goes_on, DIV(resumed.resumed_ms, 900000) + 96, NULL) AS clip_slot
FROM resumed
