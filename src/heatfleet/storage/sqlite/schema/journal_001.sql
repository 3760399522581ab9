-- Accepted readings that no figure counts yet: one row per group commit, written by the server alone.
-- The layout of `body` is described in journal.py. A journal file is deleted once the rollup is past its last row.
CREATE TABLE journal (
    seq         INTEGER PRIMARY KEY,  -- goes up by one with each commit, across files
    received_ms INTEGER NOT NULL,     -- when the server took it, ms since 1970
    readings    INTEGER NOT NULL,
    body        BLOB    NOT NULL
) STRICT;
