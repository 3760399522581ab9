-- What each device heard of said, moment by moment: with sign -1 as it was known before, with sign 1 as it is now. Of
-- those who only go on, what was before is their last word.
WITH told AS (
  SELECT
    news.device_id, news.time_ms, MAX(news.product_id) AS product_id,
    MAX(IF(news.code = 0, news.value, NULL)) AS power_w,
    MAX(IF(news.code = 1, news.value, NULL)) AS temperature_c
  FROM work_news AS news
  WHERE news.time_ms >= @from_ms AND news.time_ms < @to_ms
  GROUP BY news.device_id, news.time_ms
),
before AS (
  SELECT touched.device_id, touched.last_ms AS time_ms, touched.product_id, touched.power_w, touched.temperature_c
  FROM work_touched AS touched
  WHERE NOT touched.late AND touched.last_ms IS NOT NULL
  UNION ALL
  SELECT old.device_id, old.time_ms, old.product_id, old.power_w, old.temperature_c FROM work_old AS old
),
side AS (
  SELECT
    1 AS sign, said.device_id, said.time_ms, MAX(said.product_id) AS product_id, MAX(said.power_w) AS power_w,
    MAX(said.temperature_c) AS temperature_c
  FROM (
    SELECT before.device_id, before.time_ms, before.product_id, before.power_w, before.temperature_c FROM before
    UNION ALL
    SELECT told.device_id, told.time_ms, told.product_id, told.power_w, told.temperature_c FROM told
  ) AS said
  GROUP BY said.device_id, said.time_ms
  UNION ALL
  SELECT -1 AS sign, before.device_id, before.time_ms, before.product_id, before.power_w, before.temperature_c
  FROM before
)
SELECT
  side.sign, side.device_id, side.time_ms, side.product_id, side.power_w, side.temperature_c,
  reach.clip_slot * 900000 AS open_until_ms
FROM side
LEFT JOIN work_reach AS reach ON reach.device_id = side.device_id
WHERE reach.clip_slot IS NULL OR side.time_ms < reach.clip_slot * 900000
