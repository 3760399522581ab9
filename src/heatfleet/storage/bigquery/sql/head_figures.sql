-- Up to where figures count, in the transaction that changes them; and the lease goes on.
UPDATE head
SET
  as_of_ms = @as_of_ms, hold_ms = @hold_ms,
  lease_until = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL @lease_s SECOND)
WHERE head.lease_holder = @me
