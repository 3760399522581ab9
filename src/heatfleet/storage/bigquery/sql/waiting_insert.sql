-- Readings from the near future, whose time has not come.
INSERT INTO waiting (device_id, product_id, code, time_ms, value)
SELECT news.device_id, news.product_id, news.code, news.time_ms, news.value
FROM work_news AS news
WHERE news.time_ms >= @as_of_ms
