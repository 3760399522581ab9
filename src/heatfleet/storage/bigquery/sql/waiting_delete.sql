-- What waited is among what is new.
DELETE FROM waiting WHERE waiting.time_ms >= 0
