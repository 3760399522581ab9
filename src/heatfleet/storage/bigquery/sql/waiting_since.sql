-- When the oldest append came that no rollup has taken.
SELECT MIN(arrival.received) AS since
FROM arrival
WHERE arrival.received > @after
  AND arrival.batch NOT IN (SELECT taken.batch FROM taken WHERE taken.received > @after)
