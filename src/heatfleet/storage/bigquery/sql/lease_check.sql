-- Nothing is written by a rollup that others took for dead.
SELECT IF(head.lease_holder = @me, 'ours', ERROR('heatfleet: the lease was lost')) AS lease FROM head
