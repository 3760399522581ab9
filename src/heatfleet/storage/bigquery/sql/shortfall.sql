-- How many late devices need more than was read.
SELECT COUNTIF(reach.needs_back) AS back, COUNTIF(reach.needs_ahead) AS ahead FROM work_reach AS reach
