-- What removed days leave behind. Written by the rollup alone, all of it in one transaction each time days go.
-- One row: readings from this instant (midnight UTC) on are kept, those before it are gone; and the store whose numbers
-- of devices and products are used here.
CREATE TABLE kept (from_ms INTEGER NOT NULL, store INTEGER NOT NULL) STRICT;

-- Each device's newest reading of each code before that instant. The layout of `body` is described in carried.py.
CREATE TABLE carried (
    part INTEGER PRIMARY KEY,  -- device >> 15
    body BLOB NOT NULL
) STRICT;
