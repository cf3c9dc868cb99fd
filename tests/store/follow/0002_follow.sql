-- migrate:up
-- What a consumer of the tests keeps: a row for each effect, in the order in
-- which they came, and a copy that counts how often it was written.
CREATE TABLE probe.effect (
    tenant_id     uuid   NOT NULL,
    place         bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    aggregate_id  uuid   NOT NULL,
    aggregate_seq bigint NOT NULL,
    CONSTRAINT effect_key PRIMARY KEY (tenant_id, place)
);
CREATE TABLE probe.copy (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    event_seq bigint NOT NULL,
    written   bigint NOT NULL,
    CONSTRAINT copy_key PRIMARY KEY (tenant_id, id)
);
ALTER TABLE probe.effect ENABLE ROW LEVEL SECURITY;
ALTER TABLE probe.effect FORCE ROW LEVEL SECURITY;
ALTER TABLE probe.copy ENABLE ROW LEVEL SECURITY;
ALTER TABLE probe.copy FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON probe.effect TO probe_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON probe.copy TO probe_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON probe.effect, probe.copy TO probe_app;

-- migrate:down
DROP TABLE probe.copy, probe.effect;
