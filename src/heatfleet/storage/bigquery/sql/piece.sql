-- The definition (domain/energy.py): a value holds until the next moment, at most for the hold; the last one until
-- `open_until_ms`, and is left out where that is null. Segments are cut at the edges of slots, and each piece gives
-- whole numbers, so sums are exact in any order.
WITH held AS (
  SELECT
    point.sign, point.device_id, point.product_id, point.time_ms,
    LAST_VALUE(point.power_w IGNORE NULLS) OVER so_far AS power_w,
    LAST_VALUE(point.temperature_c IGNORE NULLS) OVER so_far AS temperature_c,
    COALESCE(LEAD(point.time_ms) OVER in_time, point.open_until_ms) AS next_ms
  FROM work_point AS point
  WINDOW
    in_time AS (PARTITION BY point.sign, point.device_id ORDER BY point.time_ms),
    so_far AS (
      PARTITION BY point.sign, point.device_id ORDER BY point.time_ms
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
segment AS (
  SELECT
    held.sign, held.device_id, held.product_id, held.power_w, held.temperature_c,
    held.time_ms AS start_ms, LEAST(held.next_ms, held.time_ms + @hold_ms) - 1 AS last_ms
  FROM held
  WHERE held.next_ms > held.time_ms AND (held.power_w IS NOT NULL OR held.temperature_c IS NOT NULL)
),
piece AS (
  SELECT
    segment.sign, segment.device_id, segment.product_id, segment.power_w, segment.temperature_c, slot,
    LEAST(segment.last_ms + 1, (slot + 1) * 900000) - GREATEST(segment.start_ms, slot * 900000) AS length_ms
  FROM segment, UNNEST(GENERATE_ARRAY(DIV(segment.start_ms, 900000), DIV(segment.last_ms, 900000))) AS slot
)
SELECT
  piece.sign, piece.device_id, piece.product_id, piece.slot,
  CAST(SUM(COALESCE(CAST(FLOOR(piece.power_w * piece.length_ms + 0.5) AS INT64), 0)) AS INT64) AS energy_mj,
  CAST(SUM(IF(piece.power_w IS NULL, 0, piece.length_ms)) AS INT64) AS known_ms,
  CAST(SUM(COALESCE(CAST(FLOOR(1000.0 * piece.temperature_c * piece.length_ms + 0.5) AS INT64), 0)) AS INT64)
    AS temperature_mc_ms,
  CAST(SUM(IF(piece.temperature_c IS NULL, 0, piece.length_ms)) AS INT64) AS temperature_known_ms
FROM piece
GROUP BY piece.sign, piece.device_id, piece.product_id, piece.slot
