-- What changed is added to the figures there are.
MERGE INTO figure USING work_change AS change
ON figure.slot = change.slot AND figure.product_id = change.product_id
  AND figure.slot BETWEEN @first_slot AND @last_slot
WHEN MATCHED THEN UPDATE SET
  energy_mj = figure.energy_mj + change.energy_mj,
  known_ms = figure.known_ms + change.known_ms,
  temperature_mc_ms = figure.temperature_mc_ms + change.temperature_mc_ms,
  temperature_known_ms = figure.temperature_known_ms + change.temperature_known_ms,
  devices = figure.devices + change.devices,
  devices_hour = figure.devices_hour + change.devices_hour,
  devices_day = figure.devices_day + change.devices_day
WHEN NOT MATCHED THEN INSERT (
  slot, product_id, energy_mj, known_ms, temperature_mc_ms, temperature_known_ms, devices, devices_hour, devices_day
) VALUES (
  change.slot, change.product_id, change.energy_mj, change.known_ms, change.temperature_mc_ms,
  change.temperature_known_ms, change.devices, change.devices_hour, change.devices_day
)
