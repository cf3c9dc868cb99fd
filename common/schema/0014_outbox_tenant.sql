-- migrate:up
-- A reader of the stream that comes back reads on in the log of its tenant: it
-- must not cost the events of all others.
CREATE INDEX outbox_tenant_order ON {{schema}}.outbox (tenant_id, epoch, xid, seq);

-- migrate:down
DROP INDEX {{schema}}.outbox_tenant_order;
