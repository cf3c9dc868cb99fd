-- migrate:up
-- Agencies (tenants), branches, users, API keys. A row holds what is looked up;
-- the whole resource is the sealed protobuf message in body.
CREATE TABLE access.agency (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    version    bigint      NOT NULL,
    event_seq  bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body       bytea       NOT NULL,
    CONSTRAINT agency_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT agency_is_its_tenant CHECK (id = tenant_id)
);
CREATE INDEX agency_order ON access.agency (created_at, id);

CREATE TABLE access.branch (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    version    bigint      NOT NULL,
    event_seq  bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body       bytea       NOT NULL,
    CONSTRAINT branch_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX branch_order ON access.branch (tenant_id, created_at, id);

CREATE TABLE access.app_user (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    version    bigint      NOT NULL,
    event_seq  bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body       bytea       NOT NULL,
    CONSTRAINT app_user_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX app_user_order ON access.app_user (tenant_id, created_at, id);

CREATE TABLE access.api_key (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    version    bigint      NOT NULL,
    event_seq  bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body       bytea       NOT NULL,
    key_hash   bytea       NOT NULL, -- SHA-256 of the key's text
    user_id    uuid,
    CONSTRAINT api_key_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT api_key_user FOREIGN KEY (tenant_id, user_id)
        REFERENCES access.app_user (tenant_id, id)
);
CREATE INDEX api_key_order ON access.api_key (tenant_id, created_at, id);
-- Not by tenant: a key is what tells the tenant.
CREATE INDEX api_key_hash ON access.api_key (key_hash);

ALTER TABLE access.agency ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.agency FORCE ROW LEVEL SECURITY;
ALTER TABLE access.branch ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.branch FORCE ROW LEVEL SECURITY;
ALTER TABLE access.app_user ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.app_user FORCE ROW LEVEL SECURITY;
ALTER TABLE access.api_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE access.api_key FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON access.agency TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON access.branch TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON access.app_user TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON access.api_key TO access_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
-- A key is resolved, and agencies are listed by the operator, before there is a
-- tenant: the relay role may read these three across tenants.
CREATE POLICY resolve ON access.agency FOR SELECT TO access_relay USING (true);
CREATE POLICY resolve ON access.app_user FOR SELECT TO access_relay USING (true);
CREATE POLICY resolve ON access.api_key FOR SELECT TO access_relay USING (true);

GRANT SELECT, INSERT, UPDATE ON access.agency, access.branch, access.app_user, access.api_key TO access_app;

-- migrate:down
DROP TABLE access.api_key, access.app_user, access.branch, access.agency;
