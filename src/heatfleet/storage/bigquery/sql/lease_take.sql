-- One rollup at a time: this one, if the one before it is done or has gone silent.
UPDATE head
SET lease_holder = @me, lease_until = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL @lease_s SECOND)
WHERE head.lease_until < CURRENT_TIMESTAMP() OR head.lease_holder = @me
