-- Appends that were taken long ago: whole hours, which BigQuery drops without reading them.
DELETE FROM arrival WHERE arrival.received < @until
