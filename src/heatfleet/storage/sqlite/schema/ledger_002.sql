-- Who may call, and who did what. Keys are made on the command line, beside a server that reads them.
CREATE TABLE api_key (
    key_id           TEXT    NOT NULL PRIMARY KEY,  -- the part of the key that may be shown
    digest           BLOB    NOT NULL UNIQUE,       -- SHA-256 of the key; the key itself is nowhere
    name             TEXT    NOT NULL,              -- what people call it
    scopes           TEXT    NOT NULL,              -- separated by spaces
    device_prefix    TEXT    NOT NULL,              -- how the ids of its devices begin; '' for all
    product_prefix   TEXT    NOT NULL,
    messages_per_s   INTEGER,                       -- NULL: as the server's settings say; 0: no limit
    commands_per_min INTEGER,
    created_at_ms    INTEGER NOT NULL,
    expires_at_ms    INTEGER,                       -- NULL: never
    revoked_at_ms    INTEGER,
    replaced_by      TEXT,                          -- the key that was made in its place
    used_at_ms       INTEGER                        -- to about a minute
) STRICT;

-- How often keys were changed, by whatever hand: servers read keys anew when this is another number. Not changes of
-- `used_at_ms`, which servers write themselves.
CREATE TABLE api_key_version (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO api_key_version VALUES (1);

CREATE TRIGGER api_key_is_made AFTER INSERT ON api_key BEGIN
    UPDATE api_key_version SET version = version + 1;
END;
CREATE TRIGGER api_key_is_changed AFTER UPDATE OF
    key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s, commands_per_min,
    created_at_ms, expires_at_ms, revoked_at_ms, replaced_by
ON api_key BEGIN
    UPDATE api_key_version SET version = version + 1;
END;
CREATE TRIGGER api_key_is_deleted AFTER DELETE ON api_key BEGIN
    UPDATE api_key_version SET version = version + 1;
END;

-- Each order, each refused order and each change of keys: one row in the transaction that does it, and for ever.
CREATE TABLE audit (
    entry      INTEGER PRIMARY KEY CHECK (entry > 0),
    at_ms      INTEGER NOT NULL,
    actor      TEXT    NOT NULL,  -- the id of a key; 'local' for one without key on this machine; 'cli' for the command line
    address    TEXT    NOT NULL,  -- where the request came from; for the command line, whose account it was
    action     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,  -- the device or key that it is about
    detail     TEXT    NOT NULL,
    result     TEXT    NOT NULL,
    command_id TEXT               -- of an order: `command` tells what became of it
) STRICT;
-- Of one device or key the lines are in order of entry already.
CREATE INDEX audit_time ON audit (at_ms);
CREATE INDEX audit_subject ON audit (subject);
CREATE INDEX audit_actor ON audit (actor);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is only ever added to');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is only ever added to');
END;
-- INSERT OR REPLACE would take a row away without asking the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE entry = new.entry) BEGIN
    SELECT raise(ABORT, 'the audit trail is only ever added to');
END;

-- An Idempotency-Key belongs to its caller, and stands for all orders of a request. Whoever called before there were
-- keys was 'local'.
ALTER TABLE idempotency_key RENAME TO idempotency_key_001;
CREATE TABLE idempotency_key (
    actor       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    command_ids TEXT    NOT NULL,  -- a JSON array, in the order of the request
    used_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT;
INSERT INTO idempotency_key SELECT 'local', key, json_array(command_id), used_at_ms FROM idempotency_key_001;
DROP TABLE idempotency_key_001;
CREATE INDEX idempotency_key_age ON idempotency_key (used_at_ms);
