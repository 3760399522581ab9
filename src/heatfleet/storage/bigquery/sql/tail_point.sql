-- The last word of every device: it counts until now, for as long as it is believed.
SELECT
  1 AS sign, device.device_id, device.last_ms AS time_ms, device.product_id, device.power_w, device.temperature_c,
  @as_of_ms AS open_until_ms
FROM device
