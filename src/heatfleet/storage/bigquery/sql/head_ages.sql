-- For how many days readings are kept; the rollup is told by this.
UPDATE head SET retention_days = @retention_days WHERE head.retention_days != @retention_days
