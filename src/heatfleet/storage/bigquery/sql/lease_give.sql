-- The next rollup need not wait.
UPDATE head SET lease_until = TIMESTAMP_MILLIS(0), lease_holder = '' WHERE head.lease_holder = @me
