-- How much was taken.
SELECT COUNT(*) AS batches, MIN(batch.received) AS first, MAX(batch.received) AS last FROM work_batch AS batch
