-- migrate:up
-- What changed since an instant, in the order of changes.
CREATE INDEX message_change ON notifications.message (tenant_id, updated_at, id);

-- migrate:down
DROP INDEX notifications.message_change;
