-- migrate:up
-- Snapshots: a consumer that has no copies, or too old ones, begins with one.

-- How far each partition of the log has been deleted: a reader that stands
-- before it has missed events.
CREATE TABLE {{schema}}.outbox_cut (
    partition smallint NOT NULL,
    epoch     int      NOT NULL,
    xid       xid8     NOT NULL,
    seq       bigint   NOT NULL,
    CONSTRAINT outbox_cut_key PRIMARY KEY (partition)
);

-- The tenants of deleted events. Whoever has state here has told an event, so
-- the tenants of a snapshot are these and those of the log.
CREATE TABLE {{schema}}.outbox_tenant (
    tenant_id uuid NOT NULL,
    CONSTRAINT outbox_tenant_key PRIMARY KEY (tenant_id)
);

-- Whoever deletes events leaves both traces.
CREATE FUNCTION {{schema}}.outbox_deleted() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {{schema}}.outbox_cut AS c (partition, epoch, xid, seq)
    SELECT DISTINCT ON (g.partition) g.partition, g.epoch, g.xid, g.seq
    FROM gone g
    ORDER BY g.partition, g.epoch DESC, g.xid DESC, g.seq DESC
    ON CONFLICT (partition) DO UPDATE
        SET epoch = excluded.epoch, xid = excluded.xid, seq = excluded.seq
        WHERE (c.epoch, c.xid, c.seq) < (excluded.epoch, excluded.xid, excluded.seq);
    INSERT INTO {{schema}}.outbox_tenant (tenant_id)
    SELECT DISTINCT g.tenant_id FROM gone g ORDER BY g.tenant_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_deleted AFTER DELETE ON {{schema}}.outbox
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.outbox_deleted();

-- A snapshot is read, never told.
ALTER TABLE {{schema}}.outbox
    ADD CONSTRAINT outbox_type CHECK (type NOT LIKE '%.snapshot');

-- A rebuild of what is copied from a producer. While one is open (ended_at is
-- null) no position of this consumer moves: an effect could read copies that
-- are not there yet.
CREATE TABLE {{schema}}.rebuild (
    producer      text        NOT NULL,
    turn          bigint      NOT NULL DEFAULT 1, -- counts the changes: whoever loads compares and sets it
    claimed_until timestamptz,                    -- by the replica that loads
    attempts      int         NOT NULL DEFAULT 0, -- begun of the page after the cursor
    after_type    text,                           -- the cursor; null: from the first row
    after_tenant  uuid,
    after_id      uuid,
    loaded        bigint      NOT NULL DEFAULT 0, -- rows
    failed        bigint      NOT NULL DEFAULT 0, -- rows that no handler took
    asked_at      timestamptz NOT NULL,
    ended_at      timestamptz,
    CONSTRAINT rebuild_key PRIMARY KEY (producer),
    CONSTRAINT rebuild_cursor CHECK ((after_type IS NULL) = (after_tenant IS NULL)
        AND (after_type IS NULL) = (after_id IS NULL))
);

-- Asks for a rebuild. An open one begins again only if from_start says so,
-- which whoever empties copies must, in the same transaction.
CREATE FUNCTION {{schema}}.rebuild_ask(name text, from_start boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {{schema}}.inbox_position p WHERE p.producer = name) THEN
        RAISE '{{schema}} does not follow %', name;
    END IF;
    INSERT INTO {{schema}}.rebuild AS r (producer, asked_at) VALUES (name, now())
    ON CONFLICT (producer) DO UPDATE
        SET turn = r.turn + 1, claimed_until = NULL, attempts = 0,
            after_type = NULL, after_tenant = NULL, after_id = NULL,
            loaded = 0, failed = 0, asked_at = excluded.asked_at, ended_at = NULL
        WHERE from_start OR r.ended_at IS NOT NULL;
END $$;

ALTER TABLE {{schema}}.outbox_tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.outbox_tenant FORCE ROW LEVEL SECURITY;
CREATE POLICY relay ON {{schema}}.outbox_tenant TO {{schema}}_relay USING (true);

GRANT SELECT, INSERT, UPDATE ON {{schema}}.outbox_cut, {{schema}}.rebuild TO {{schema}}_relay;
GRANT SELECT, INSERT ON {{schema}}.outbox_tenant TO {{schema}}_relay;

-- migrate:down
DROP FUNCTION {{schema}}.rebuild_ask(text, boolean);
DROP TABLE {{schema}}.rebuild;
ALTER TABLE {{schema}}.outbox DROP CONSTRAINT outbox_type;
DROP TRIGGER outbox_deleted ON {{schema}}.outbox;
DROP FUNCTION {{schema}}.outbox_deleted();
DROP TABLE {{schema}}.outbox_tenant, {{schema}}.outbox_cut;
