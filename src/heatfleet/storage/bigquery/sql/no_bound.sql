-- Nothing is known from before.
SELECT
  device.device_id, device.product_id, device.known_slot, device.known_product_slot, CAST(NULL AS INT64) AS clip_slot
FROM device
WHERE FALSE
