-- migrate:up
-- The audit of all services as GET /v1/audit shows it: a copy of their sealed
-- rows, and by each chain's end a second witness of it.
CREATE TABLE access.audit_entry (
    tenant_id  uuid        NOT NULL,
    service    text        NOT NULL,
    n          bigint      NOT NULL, -- place in the chain
    hash       bytea       NOT NULL,
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL,
    actor      text        NOT NULL,
    role       text        NOT NULL,
    action     text        NOT NULL,
    resource   text,
    patients   uuid[]      NOT NULL,
    request_id text,
    CONSTRAINT audit_entry_key PRIMARY KEY (tenant_id, service, n)
);
CREATE INDEX audit_entry_at ON access.audit_entry (tenant_id, at, id);
CREATE INDEX audit_entry_actor ON access.audit_entry (tenant_id, actor, at, id);
CREATE INDEX audit_entry_action ON access.audit_entry (tenant_id, action, at, id);
CREATE INDEX audit_entry_resource ON access.audit_entry (tenant_id, resource, at, id)
    WHERE resource IS NOT NULL;

-- Who saw which patient: a row for each patient of an entry.
CREATE TABLE access.audit_patient (
    tenant_id  uuid        NOT NULL,
    patient_id uuid        NOT NULL,
    at         timestamptz NOT NULL,
    id         uuid        NOT NULL,
    service    text        NOT NULL,
    n          bigint      NOT NULL,
    CONSTRAINT audit_patient_key PRIMARY KEY (tenant_id, patient_id, at, id, service, n)
);

-- How far each service's sealed audit was copied, and the end of each chain.
CREATE TABLE access.audit_follow (
    service text   NOT NULL,
    seq     bigint NOT NULL,
    CONSTRAINT audit_follow_key PRIMARY KEY (service)
);
CREATE TABLE access.audit_chain (
    tenant_id uuid   NOT NULL,
    service   text   NOT NULL,
    n         bigint NOT NULL,
    hash      bytea  NOT NULL,
    CONSTRAINT audit_chain_key PRIMARY KEY (tenant_id, service)
);
-- Places at which a chain did not go on from what was copied before.
CREATE TABLE access.audit_break (
    tenant_id uuid        NOT NULL,
    service   text        NOT NULL,
    n         bigint      NOT NULL,
    found_at  timestamptz NOT NULL,
    CONSTRAINT audit_break_key PRIMARY KEY (tenant_id, service, n)
);

ALTER TABLE access.audit_entry ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.audit_entry FORCE ROW LEVEL SECURITY;
ALTER TABLE access.audit_patient ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.audit_patient FORCE ROW LEVEL SECURITY;
ALTER TABLE access.audit_chain ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.audit_chain FORCE ROW LEVEL SECURITY;
ALTER TABLE access.audit_break ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.audit_break FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON access.audit_entry FOR SELECT TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON access.audit_patient FOR SELECT TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY relay ON access.audit_entry TO access_relay USING (true);
CREATE POLICY relay ON access.audit_patient TO access_relay USING (true);
CREATE POLICY relay ON access.audit_chain TO access_relay USING (true);
CREATE POLICY relay ON access.audit_break TO access_relay USING (true);

GRANT SELECT ON access.audit_entry, access.audit_patient TO access_app;
GRANT INSERT ON access.audit_entry, access.audit_patient, access.audit_break TO access_relay;
GRANT SELECT ON access.audit_break TO access_relay;
GRANT SELECT, INSERT, UPDATE ON access.audit_follow, access.audit_chain TO access_relay;

-- migrate:down
DROP TABLE access.audit_break, access.audit_chain, access.audit_follow,
    access.audit_patient, access.audit_entry;
