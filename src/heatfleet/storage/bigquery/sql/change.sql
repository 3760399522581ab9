-- What the pieces add to the figures and take from them. Each counts for its product and, under the name '', for the
-- fleet. A device that is known in a slot counts in the day that ends with it or with one of the 95 slots after it:
-- of these it covers anew those that its known slot before did not cover. So counts are sums of differences too.
WITH share AS (
  SELECT
    piece.sign, piece.device_id, counted_for AS product_id, piece.slot,
    piece.energy_mj, piece.known_ms, piece.temperature_mc_ms, piece.temperature_known_ms
  FROM work_piece AS piece, UNNEST([piece.product_id, '']) AS counted_for
),
known AS (
  SELECT share.sign, share.device_id, share.product_id, share.slot
  FROM share
  WHERE share.known_ms > 0
  GROUP BY share.sign, share.device_id, share.product_id, share.slot
),
near AS (
  SELECT
    known.sign, known.product_id, known.slot, bound.clip_slot,
    LAG(known.slot) OVER (PARTITION BY known.sign, known.device_id, known.product_id ORDER BY known.slot) AS read_slot,
    CASE known.product_id WHEN '' THEN bound.known_slot WHEN bound.product_id THEN bound.known_product_slot END
      AS bound_slot
  FROM known
  LEFT JOIN work_bound AS bound ON bound.device_id = known.device_id
),
step AS (
  SELECT
    near.sign, near.product_id, near.slot, near.clip_slot,
    GREATEST(COALESCE(near.read_slot, near.bound_slot), COALESCE(near.bound_slot, near.read_slot)) AS previous_slot
  FROM near
),
cover AS (
  SELECT step.sign, step.product_id, width, covered
  FROM
    step,
    UNNEST([1, 4, 96]) AS width,
    UNNEST(
      GENERATE_ARRAY(
        GREATEST(step.slot, COALESCE(step.previous_slot + width, step.slot)), step.slot + width - 1
      )
    ) AS covered
  WHERE step.clip_slot IS NULL OR covered < step.clip_slot
),
difference AS (
  SELECT
    share.slot, share.product_id,
    share.sign * share.energy_mj AS energy_mj, share.sign * share.known_ms AS known_ms,
    share.sign * share.temperature_mc_ms AS temperature_mc_ms,
    share.sign * share.temperature_known_ms AS temperature_known_ms,
    0 AS devices, 0 AS devices_hour, 0 AS devices_day
  FROM share
  UNION ALL
  SELECT
    cover.covered AS slot, cover.product_id, 0, 0, 0, 0,
    IF(cover.width = 1, cover.sign, 0), IF(cover.width = 4, cover.sign, 0), IF(cover.width = 96, cover.sign, 0)
  FROM cover
),
total AS (
  SELECT
    difference.slot, difference.product_id,
    CAST(SUM(difference.energy_mj) AS INT64) AS energy_mj,
    CAST(SUM(difference.known_ms) AS INT64) AS known_ms,
    CAST(SUM(difference.temperature_mc_ms) AS INT64) AS temperature_mc_ms,
    CAST(SUM(difference.temperature_known_ms) AS INT64) AS temperature_known_ms,
    CAST(SUM(difference.devices) AS INT64) AS devices,
    CAST(SUM(difference.devices_hour) AS INT64) AS devices_hour,
    CAST(SUM(difference.devices_day) AS INT64) AS devices_day
  FROM difference
  GROUP BY difference.slot, difference.product_id
)
SELECT
  total.slot, total.product_id, total.energy_mj, total.known_ms, total.temperature_mc_ms, total.temperature_known_ms,
  total.devices, total.devices_hour, total.devices_day
FROM total
WHERE total.energy_mj != 0 OR total.known_ms != 0 OR total.temperature_mc_ms != 0 OR total.temperature_known_ms != 0
  OR total.devices != 0 OR total.devices_hour != 0 OR total.devices_day != 0
