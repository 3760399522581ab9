-- Nobody is late: nothing ends early.
SELECT touched.device_id, FALSE AS needs_back, FALSE AS needs_ahead, touched.known_slot AS clip_slot
FROM work_touched AS touched
WHERE FALSE
