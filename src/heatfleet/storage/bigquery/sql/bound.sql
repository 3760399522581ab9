-- The last slot in which a device was known, itself and as its product, where what was read begins with its last word;
-- and where late devices end.
SELECT
  touched.device_id, touched.product_id,
  IF(touched.late AND touched.last_ms >= @since_ms, NULL, touched.known_slot) AS known_slot,
  IF(touched.late AND touched.last_ms >= @since_ms, NULL, touched.known_product_slot) AS known_product_slot,
  reach.clip_slot
FROM work_touched AS touched
LEFT JOIN work_reach AS reach ON reach.device_id = touched.device_id
