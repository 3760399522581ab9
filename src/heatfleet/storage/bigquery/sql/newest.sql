-- When the first and the newest reading of all devices were.
SELECT MIN(device.first_ms) AS first_ms, MAX(device.last_ms) AS last_ms FROM device
