-- migrate:up
-- The platform's tables of one service. Rendered by the build: {{schema}} is the
-- service's schema and the prefix of its roles.

-- A guard: raises the named constraint when a change did not match.
CREATE FUNCTION {{schema}}.require(holds boolean, name text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF holds IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation',
            MESSAGE = 'guard failed', CONSTRAINT = name;
    END IF;
END $$;

CREATE TABLE {{schema}}.outbox (
    tenant_id      uuid        NOT NULL,
    epoch          int         NOT NULL,
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    seq            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    partition      smallint    NOT NULL CONSTRAINT outbox_partition_check CHECK (partition BETWEEN 0 AND 15),
    event_id       uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    aggregate_seq  bigint      NOT NULL,
    type           text        NOT NULL,
    schema_version int         NOT NULL DEFAULT 1,
    payload        bytea       NOT NULL, -- sealed
    actor          text        NOT NULL,
    causation_id   text,
    correlation_id text,
    trace          text,
    occurred_at    timestamptz NOT NULL,
    CONSTRAINT outbox_key PRIMARY KEY (tenant_id, aggregate_type, aggregate_id, aggregate_seq)
);
CREATE INDEX outbox_order ON {{schema}}.outbox (epoch, xid, seq);
CREATE INDEX outbox_partition_order ON {{schema}}.outbox (partition, epoch, xid, seq);

CREATE TABLE {{schema}}.idempotency (
    tenant_id   uuid        NOT NULL,
    subject     text        NOT NULL, -- the credential
    method      text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL, -- SHA-256 of the canonical request
    reply       bytea       NOT NULL, -- sealed envelope.v1.StoredReply
    created_at  timestamptz NOT NULL,
    CONSTRAINT idempotency_key PRIMARY KEY (tenant_id, subject, method, key)
);
CREATE INDEX idempotency_age ON {{schema}}.idempotency (created_at); -- of all tenants: they are swept together

CREATE TABLE {{schema}}.audit (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL,
    actor      text        NOT NULL,
    role       text        NOT NULL,
    action     text        NOT NULL,
    resource   text,
    patients   uuid[]      NOT NULL DEFAULT '{}',
    request_id text,
    CONSTRAINT audit_key PRIMARY KEY (tenant_id, id)
);

CREATE TABLE {{schema}}.due (
    tenant_id     uuid        NOT NULL,
    kind          text        NOT NULL,
    id            uuid        NOT NULL,
    fire_at       timestamptz NOT NULL,
    claimed_until timestamptz,
    CONSTRAINT due_key PRIMARY KEY (tenant_id, kind, id)
);
CREATE INDEX due_fire ON {{schema}}.due (fire_at);

CREATE TABLE {{schema}}.inbox_position (
    producer  text   NOT NULL,
    partition int    NOT NULL, -- -1: all of them
    epoch     int    NOT NULL,
    xid       xid8   NOT NULL,
    seq       bigint NOT NULL,
    attempts  int    NOT NULL DEFAULT 0, -- of the event after this position
    CONSTRAINT inbox_position_key PRIMARY KEY (producer, partition)
);

CREATE TABLE {{schema}}.dead_letter (
    tenant_id      uuid        NOT NULL,
    event_id       uuid        NOT NULL,
    producer       text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    aggregate_seq  bigint      NOT NULL,
    type           text        NOT NULL,
    error          text        NOT NULL, -- code and constraint only
    epoch          int         NOT NULL,
    xid            xid8        NOT NULL,
    seq            bigint      NOT NULL,
    created_at     timestamptz NOT NULL,
    CONSTRAINT dead_letter_key PRIMARY KEY (tenant_id, event_id)
);
CREATE INDEX dead_letter_aggregate ON {{schema}}.dead_letter (tenant_id, producer, aggregate_type, aggregate_id);

ALTER TABLE {{schema}}.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.idempotency FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.audit FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.due ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.due FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.dead_letter ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.dead_letter FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON {{schema}}.outbox FOR INSERT TO {{schema}}_app
    WITH CHECK (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY relay ON {{schema}}.outbox FOR SELECT TO {{schema}}_relay USING (true);
CREATE POLICY relay_age ON {{schema}}.outbox FOR DELETE TO {{schema}}_relay USING (true);
CREATE POLICY tenant ON {{schema}}.idempotency TO {{schema}}_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY relay_age ON {{schema}}.idempotency TO {{schema}}_relay USING (true);
CREATE POLICY tenant ON {{schema}}.audit FOR INSERT TO {{schema}}_app
    WITH CHECK (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY relay ON {{schema}}.audit FOR SELECT TO {{schema}}_relay USING (true);
CREATE POLICY tenant ON {{schema}}.due TO {{schema}}_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY relay ON {{schema}}.due TO {{schema}}_relay USING (true);
CREATE POLICY relay ON {{schema}}.dead_letter TO {{schema}}_relay USING (true);

-- Nobody may change what was written: the log and the audit only grow.
GRANT INSERT ON {{schema}}.outbox, {{schema}}.audit TO {{schema}}_app;
GRANT INSERT, SELECT ON {{schema}}.idempotency TO {{schema}}_app;
GRANT INSERT, SELECT, UPDATE, DELETE ON {{schema}}.due TO {{schema}}_app;
GRANT SELECT, DELETE ON {{schema}}.outbox TO {{schema}}_relay;
GRANT SELECT, DELETE ON {{schema}}.idempotency TO {{schema}}_relay;
GRANT SELECT ON {{schema}}.audit TO {{schema}}_relay;
GRANT SELECT, INSERT, UPDATE ON {{schema}}.inbox_position TO {{schema}}_relay;
GRANT SELECT, INSERT, DELETE ON {{schema}}.dead_letter TO {{schema}}_relay;

-- migrate:down
DROP TABLE {{schema}}.dead_letter, {{schema}}.inbox_position, {{schema}}.due,
    {{schema}}.audit, {{schema}}.idempotency, {{schema}}.outbox;
DROP FUNCTION {{schema}}.require(boolean, text);
