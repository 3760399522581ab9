-- Over what time late devices must be reckoned again.
SELECT
  COUNT(*) AS devices,
  MIN(touched.first_ms) AS first_ms,
  MAX(touched.last_ms) AS last_ms,
  MIN(touched.new_first_ms) AS new_first_ms,
  MAX(touched.new_last_ms) AS new_last_ms
FROM work_touched AS touched
WHERE touched.late
