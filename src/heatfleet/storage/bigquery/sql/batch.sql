-- Batches that no rollup has taken yet. Rows of a batch appear together, an hour after they were sent at the latest.
SELECT arrival.received, arrival.batch
FROM arrival
WHERE arrival.received > @after
  AND arrival.batch NOT IN (SELECT taken.batch FROM taken WHERE taken.received > @after)
GROUP BY arrival.received, arrival.batch
