-- These batches are never taken again.
INSERT INTO taken (received, batch)
SELECT batch.received, batch.batch FROM work_batch AS batch
