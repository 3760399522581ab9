-- One device as the last rollup knew it.
SELECT
  device.device_id, device.product_id, device.power_w, device.power_ms, device.temperature_c, device.temperature_ms,
  device.last_ms, device.first_ms, device.first_power_ms, device.first_temperature_ms
FROM device
WHERE device.device_id = @device_id
