-- Over which slots figures change.
SELECT MIN(change.slot) AS first_slot, MAX(change.slot) AS last_slot FROM work_change AS change
