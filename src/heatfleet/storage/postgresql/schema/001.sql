-- Orders to devices, who may call, and who did what. Written by every server; times are milliseconds since 1970.
CREATE TABLE heatfleet_schema (
    version integer NOT NULL              -- the number of the newest of these scripts that was run here
);
INSERT INTO heatfleet_schema VALUES (1);

CREATE TABLE command (
    command_id    text    NOT NULL PRIMARY KEY,
    device_id     text    NOT NULL,
    product_id    text,                   -- what the device was last heard as; NULL if never heard
    switch        boolean NOT NULL,
    issued_at_ms  bigint  NOT NULL,
    expires_at_ms bigint  NOT NULL,       -- it is never carried out from here on
    state         text    NOT NULL CHECK (state IN ('accepted', 'published', 'failed')),
    sequence      bigint  UNIQUE,         -- place in the order of publication: see SETTLE in ledger.py
    settled_at_ms bigint,                 -- when it became published or failed
    owner         integer NOT NULL,       -- which open ledger accepted it: see owner.py
    CHECK ((state = 'published') = (sequence IS NOT NULL)),
    CHECK ((state = 'accepted') = (settled_at_ms IS NULL))
);
CREATE INDEX command_of_device ON command (device_id, sequence);
CREATE INDEX command_of_product ON command (product_id, expires_at_ms);
CREATE INDEX command_unsettled ON command (command_id) WHERE state = 'accepted';

-- The greatest sequence that was given. Whoever gives some holds this row until they are visible, so they become
-- visible in ascending order.
CREATE TABLE order_sequence (
    last bigint NOT NULL
);
INSERT INTO order_sequence VALUES (0);

CREATE SEQUENCE ledger_owner AS integer CYCLE;

-- The ledgers that are open now: each holds a lock on its number, and PostgreSQL lets go of it when its server dies.
CREATE VIEW living_owner AS
SELECT objid::bigint AS owner
FROM pg_locks
WHERE locktype = 'advisory' AND classid = 'command'::regclass AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- Idempotency keys of the last 24 h. A key belongs to its caller, and stands for all orders of a request.
CREATE TABLE idempotency_key (
    actor       text   NOT NULL,
    key         text   NOT NULL,
    command_ids text[] NOT NULL,          -- in the order of the request
    used_at_ms  bigint NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_key_age ON idempotency_key (used_at_ms);

-- What servers read. Superseded: a newer order for the same device was published before this one ran out.
CREATE VIEW command_record AS
SELECT command_id, device_id, product_id, switch, issued_at_ms, expires_at_ms, state, sequence, settled_at_ms,
       expires_at_ms > (SELECT newer.settled_at_ms FROM command AS newer
                        WHERE newer.device_id = command.device_id AND newer.sequence > command.sequence
                        ORDER BY newer.sequence LIMIT 1) AS superseded
FROM command;

-- For people with a SQL prompt: each order, and where it stands at this moment.
CREATE VIEW command_now AS
SELECT command_id, device_id, product_id, CASE WHEN switch THEN 'on' ELSE 'off' END AS switch,
       CASE WHEN superseded THEN 'superseded'
            WHEN state = 'published' AND expires_at_ms <= extract(epoch FROM now()) * 1000 THEN 'expired'
            ELSE state END AS state,
       to_timestamp(issued_at_ms / 1000.0) AS issued_at,
       to_timestamp(expires_at_ms / 1000.0) AS expires_at,
       to_timestamp(settled_at_ms / 1000.0) AS settled_at
FROM command_record;

CREATE TABLE api_key (
    key_id           text   NOT NULL PRIMARY KEY,  -- the part of the key that may be shown
    digest           bytea  NOT NULL UNIQUE,       -- SHA-256 of the key; the key itself is nowhere
    name             text   NOT NULL,              -- what people call it
    scopes           text   NOT NULL,              -- separated by spaces
    device_prefix    text   NOT NULL,              -- how the ids of its devices begin; '' for all
    product_prefix   text   NOT NULL,
    messages_per_s   bigint,                       -- NULL: as the server's settings say; 0: no limit
    commands_per_min bigint,
    created_at_ms    bigint NOT NULL,
    expires_at_ms    bigint,                       -- NULL: never
    revoked_at_ms    bigint,
    replaced_by      text,                         -- the key that was made in its place
    used_at_ms       bigint,                       -- to about a minute
    number           bigint GENERATED ALWAYS AS IDENTITY UNIQUE  -- the order in which they were made
);

-- How often keys were changed, by whatever hand: servers read keys anew when this is another number. Not changes of
-- `used_at_ms`, which servers write themselves.
CREATE TABLE api_key_version (
    version bigint NOT NULL
);
INSERT INTO api_key_version VALUES (1);

CREATE FUNCTION count_api_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_key_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER api_key_is_changed AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF
    key_id, digest, name, scopes, device_prefix, product_prefix, messages_per_s, commands_per_min,
    created_at_ms, expires_at_ms, revoked_at_ms, replaced_by
ON api_key FOR EACH STATEMENT EXECUTE FUNCTION count_api_key_change();

-- Each order, each refused order and each change of keys: one row in the transaction that does it, and for ever.
CREATE TABLE audit (
    entry      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms      bigint NOT NULL,
    actor      text   NOT NULL,  -- the id of a key; 'local' for one without key on this machine; 'cli' for the command line
    address    text   NOT NULL,  -- where the request came from; for the command line, whose account it was
    action     text   NOT NULL,
    subject    text   NOT NULL,  -- the device or key that it is about
    detail     text   NOT NULL,
    result     text   NOT NULL,
    command_id text              -- of an order: `command` tells what became of it
);
CREATE INDEX audit_time ON audit (at_ms);
CREATE INDEX audit_subject ON audit (subject, entry);
CREATE INDEX audit_actor ON audit (actor, entry);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to';
END $$;
CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE
ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
