-- Each device as it is now.
MERGE INTO device USING work_state AS state
ON device.device_id = state.device_id
WHEN MATCHED THEN UPDATE SET
  product_id = state.product_id, first_ms = state.first_ms, last_ms = state.last_ms,
  first_power_ms = state.first_power_ms, power_ms = state.power_ms, power_w = state.power_w,
  first_temperature_ms = state.first_temperature_ms, temperature_ms = state.temperature_ms,
  temperature_c = state.temperature_c, known_slot = state.known_slot, known_product_slot = state.known_product_slot
WHEN NOT MATCHED THEN INSERT (
  device_id, number, product_id, first_ms, last_ms, first_power_ms, power_ms, power_w, first_temperature_ms,
  temperature_ms, temperature_c, known_slot, known_product_slot
) VALUES (
  state.device_id, state.number, state.product_id, state.first_ms, state.last_ms, state.first_power_ms, state.power_ms,
  state.power_w, state.first_temperature_ms, state.temperature_ms, state.temperature_c, state.known_slot,
  state.known_product_slot
)
