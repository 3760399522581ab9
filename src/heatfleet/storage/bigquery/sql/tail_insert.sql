-- What they count now.
INSERT INTO tail (
  slot, product_id, energy_mj, known_ms, temperature_mc_ms, temperature_known_ms, devices, devices_hour, devices_day
)
SELECT
  change.slot, change.product_id, change.energy_mj, change.known_ms, change.temperature_mc_ms,
  change.temperature_known_ms, change.devices, change.devices_hour, change.devices_day
FROM work_change AS change
