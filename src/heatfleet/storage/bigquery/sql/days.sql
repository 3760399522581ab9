-- By day: how many readings are new, how many of them late, and how many change what was counted before.
SELECT
  DIV(news.time_ms, 86400000) AS day,
  COUNT(*) AS readings,
  COUNTIF(news.time_ms <= device.last_ms) AS late,
  COUNTIF(news.time_ms <= device.last_ms OR news.product_id != device.product_id) AS changing
FROM work_news AS news
LEFT JOIN device ON device.device_id = news.device_id
WHERE news.time_ms < @as_of_ms
GROUP BY day
ORDER BY day
