-- migrate:up
-- An aggregate as services have them, for the tests of db and write.
CREATE TABLE probe.thing (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    version   bigint NOT NULL,
    event_seq bigint NOT NULL,
    name      text   NOT NULL,
    partner   uuid, -- must exist when the unit commits
    CONSTRAINT thing_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT thing_name UNIQUE (tenant_id, name),
    CONSTRAINT thing_name_filled CHECK (name <> ''),
    CONSTRAINT thing_partner FOREIGN KEY (tenant_id, partner)
        REFERENCES probe.thing (tenant_id, id) DEFERRABLE INITIALLY DEFERRED
);
ALTER TABLE probe.thing ENABLE ROW LEVEL SECURITY;
ALTER TABLE probe.thing FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON probe.thing TO probe_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON probe.thing TO probe_app;

-- As a commit warns that did not wait for its standby.
CREATE FUNCTION probe.warn() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'not replicated';
    RETURN 1;
END $$;

-- migrate:down
DROP FUNCTION probe.warn();
DROP TABLE probe.thing;
