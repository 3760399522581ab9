-- And the note that they were taken.
DELETE FROM taken WHERE taken.received < @until
