-- What was reckoned is kept, in the same transaction.
INSERT INTO reading (device_id, product_id, code, time, value)
SELECT news.device_id, news.product_id, news.code, TIMESTAMP_MILLIS(news.time_ms), news.value
FROM work_news AS news
WHERE news.time_ms >= @from_ms AND news.time_ms < @to_ms
