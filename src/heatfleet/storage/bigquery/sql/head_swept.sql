-- Until when they are gone.
UPDATE head SET swept_until = @until WHERE head.lease_holder = @me
