-- migrate:up
-- The sealed audit: every row of audit gets a place n in its tenant's chain of
-- hashes. epoch and xid say, as in outbox, which rows no open transaction can
-- still precede; the rows that are there already count as one transaction, this
-- one.
ALTER TABLE {{schema}}.audit
    ADD COLUMN epoch int  NOT NULL DEFAULT 1,
    ADD COLUMN xid   xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX audit_order ON {{schema}}.audit (epoch, xid, tenant_id, id);

-- hash = SHA-256(hash of n - 1 | canonical row); common/audit/audit_chain.h.
CREATE TABLE {{schema}}.audit_seal (
    tenant_id uuid     NOT NULL,
    n         bigint   NOT NULL CONSTRAINT audit_seal_n_check CHECK (n > 0),
    seq       bigint   NOT NULL, -- of all tenants: 1, 2, 3, ... as they were sealed
    id        uuid     NOT NULL, -- of the audit row
    form      smallint NOT NULL, -- of the canonical row
    hash      bytea    NOT NULL CONSTRAINT audit_seal_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT audit_seal_key PRIMARY KEY (tenant_id, n),
    CONSTRAINT audit_seal_row UNIQUE (tenant_id, id)
);
CREATE INDEX audit_seal_order ON {{schema}}.audit_seal (seq);

-- The one sealer: all rows up to this place are sealed, and who may go on. The
-- place is moved by compare-and-set in the unit of the seals; the lease only
-- saves the others the work.
CREATE TABLE {{schema}}.audit_sealer (
    one        boolean     NOT NULL DEFAULT true CONSTRAINT audit_sealer_one_check CHECK (one),
    epoch      int         NOT NULL,
    xid        xid8        NOT NULL,
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    seq        bigint      NOT NULL, -- the last one given
    holder     uuid,
    held_until timestamptz,
    CONSTRAINT audit_sealer_key PRIMARY KEY (one)
);
INSERT INTO {{schema}}.audit_sealer (epoch, xid, tenant_id, id, seq)
VALUES (0, '0', '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', 0);

ALTER TABLE {{schema}}.audit_seal ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.audit_seal FORCE ROW LEVEL SECURITY;
CREATE POLICY relay ON {{schema}}.audit_seal TO {{schema}}_relay USING (true);

-- The rights allow no change already; this stops the owner's own mistakes too.
CREATE FUNCTION {{schema}}.audit_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
        MESSAGE = 'the audit only grows';
END $$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE ON {{schema}}.audit
    FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.audit_refuse();
CREATE TRIGGER audit_seal_only_grows BEFORE UPDATE OR DELETE ON {{schema}}.audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.audit_refuse();

GRANT SELECT, INSERT ON {{schema}}.audit_seal TO {{schema}}_relay;
GRANT SELECT, UPDATE ON {{schema}}.audit_sealer TO {{schema}}_relay;

-- migrate:down
DROP TABLE {{schema}}.audit_sealer, {{schema}}.audit_seal;
DROP TRIGGER audit_only_grows ON {{schema}}.audit;
DROP FUNCTION {{schema}}.audit_refuse();
DROP INDEX {{schema}}.audit_order;
ALTER TABLE {{schema}}.audit DROP COLUMN epoch, DROP COLUMN xid;
