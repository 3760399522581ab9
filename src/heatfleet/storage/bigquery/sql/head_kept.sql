-- From when on readings are kept.
UPDATE head SET kept_from_ms = @before_ms WHERE head.lease_holder = @me
