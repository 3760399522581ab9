-- What devices were last heard as.
SELECT device.device_id, device.product_id FROM device WHERE device.device_id IN UNNEST(@device_ids)
