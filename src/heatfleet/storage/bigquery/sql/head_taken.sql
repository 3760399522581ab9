-- Up to where appends were taken, and how many devices there are.
UPDATE head
SET taken_until = @taken_until, devices = (SELECT COUNT(*) FROM device)
WHERE head.lease_holder = @me
