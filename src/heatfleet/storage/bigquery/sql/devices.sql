-- Some devices, in the order of their numbers.
SELECT
  device.number, device.device_id, device.product_id, device.power_w, device.power_ms, device.temperature_c,
  device.temperature_ms, device.last_ms
FROM device
WHERE device.number > @position
  AND (@product_id IS NULL OR device.product_id = @product_id)
  AND (@known IS NULL OR (device.last_ms > @known_after_ms) = @known)
  AND (@is_on IS NULL OR (COALESCE(device.power_w, 0) > 0) = @is_on)
  AND STARTS_WITH(device.device_id, @device_prefix) AND STARTS_WITH(device.product_id, @product_prefix)
ORDER BY device.number
LIMIT @limit
