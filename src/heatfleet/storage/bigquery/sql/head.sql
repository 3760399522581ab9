-- How far the figures have come.
SELECT
  head.version, head.hold_ms, head.as_of_ms, head.taken_until, head.swept_until, head.kept_from_ms, head.retention_days, head.devices,
  head.lease_holder, head.lease_until
FROM head
