-- The last slot in which a device was known, itself and as its product, if nothing new is of a time before its last word:
-- what was read may begin after it. And where late devices end.
SELECT
  touched.device_id, touched.product_id,
  IF(touched.late AND touched.new_first_ms <= touched.last_ms, NULL, touched.known_slot) AS known_slot,
  IF(touched.late AND touched.new_first_ms <= touched.last_ms, NULL, touched.known_product_slot) AS known_product_slot,
  reach.clip_slot
FROM work_touched AS touched
LEFT JOIN work_reach AS reach ON reach.device_id = touched.device_id
