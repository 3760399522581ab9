-- What those batches say, and what has waited for its time, as a set: of two values the greater counts.
SELECT said.device_id, said.code, said.time_ms, MAX(said.value) AS value, MAX(said.product_id) AS product_id
FROM (
  SELECT
    arrival.device_id, arrival.code, UNIX_MILLIS(arrival.time) AS time_ms, arrival.value, arrival.product_id
  FROM arrival
  JOIN work_batch AS taken_now ON taken_now.batch = arrival.batch
  WHERE arrival.received >= @since
  UNION ALL
  SELECT waiting.device_id, waiting.code, waiting.time_ms, waiting.value, waiting.product_id FROM waiting
) AS said
GROUP BY said.device_id, said.code, said.time_ms
