-- Until where every device was known before its last word.
SELECT
  device.device_id, device.product_id, device.known_slot, device.known_product_slot, CAST(NULL AS INT64) AS clip_slot
FROM device
