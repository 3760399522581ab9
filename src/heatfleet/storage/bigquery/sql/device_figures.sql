-- Figures of one device, in the form of figures.sql.
SELECT
  DIV(change.slot, 4096) AS part,
  STRING_AGG(
    CONCAT(
      CAST(change.slot AS STRING), ' ', CAST(change.energy_mj AS STRING), ' ', CAST(change.known_ms AS STRING), ' ',
      CAST(change.temperature_mc_ms AS STRING), ' ', CAST(change.temperature_known_ms AS STRING), ' ',
      CAST(change.devices AS STRING), ' ', CAST(change.devices_hour AS STRING), ' ',
      CAST(change.devices_day AS STRING)
    ), ' ' ORDER BY change.slot
  ) AS packed
FROM work_change AS change
WHERE change.product_id = @product_id AND change.slot >= @first_slot AND change.slot < @end_slot
GROUP BY part
ORDER BY part
