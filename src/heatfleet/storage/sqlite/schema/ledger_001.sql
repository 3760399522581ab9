-- Orders to devices and what became of them. Written by the server alone; times are milliseconds since 1970.
CREATE TABLE command (
    command_id    TEXT    NOT NULL PRIMARY KEY,
    device_id     TEXT    NOT NULL,
    product_id    TEXT,                 -- what the device was last heard as; NULL if never heard
    switch        INTEGER NOT NULL CHECK (switch IN (0, 1)),
    issued_at_ms  INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,     -- it is never carried out from here on
    state         TEXT    NOT NULL CHECK (state IN ('accepted', 'published', 'failed')),
    sequence      INTEGER UNIQUE,       -- place in the order of publication: see SETTLE in ledger.py
    settled_at_ms INTEGER,              -- when it became published or failed
    CHECK ((state = 'published') = (sequence IS NOT NULL)),
    CHECK ((state = 'accepted') = (settled_at_ms IS NULL))
) STRICT;
CREATE INDEX command_of_device ON command (device_id, sequence);
CREATE INDEX command_of_product ON command (product_id, expires_at_ms);
CREATE INDEX command_unsettled ON command (state) WHERE state = 'accepted';

-- Idempotency keys of the last 24 h, and the order that each stands for.
CREATE TABLE idempotency_key (
    key        TEXT    NOT NULL PRIMARY KEY,
    command_id TEXT    NOT NULL,
    used_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_age ON idempotency_key (used_at_ms);

-- What the server reads. Superseded: a newer order for the same device was published before this one ran out.
CREATE VIEW command_record AS
SELECT command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms, state, sequence, settled_at_ms,
       expires_at_ms > (SELECT newer.settled_at_ms FROM command AS newer
                        WHERE newer.device_id = command.device_id AND newer.sequence > command.sequence
                        ORDER BY newer.sequence LIMIT 1) AS superseded
FROM command;

-- For people with a SQL prompt: each order, and where it stands at this moment.
CREATE VIEW command_now AS
SELECT command_id, device_id, product_id, iif(switch, 'on', 'off') AS switch,
       CASE WHEN superseded THEN 'superseded'
            WHEN state = 'published' AND expires_at_ms <= strftime('%s', 'now') * 1000 THEN 'expired'
            ELSE state END AS state,
       strftime('%Y-%m-%dT%H:%M:%fZ', issued_at_ms / 1000.0, 'unixepoch') AS issued_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at_ms / 1000.0, 'unixepoch') AS expires_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', settled_at_ms / 1000.0, 'unixepoch') AS settled_at
FROM command_record;
